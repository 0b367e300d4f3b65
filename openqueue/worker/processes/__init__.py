"""Tasks with `executor="process"`: a pool of processes, one seen from both sides, and what the two say.

The worker's side is `pool` and `task_process`, one attempt there `in_process`; the other side is `child`.
"""

__all__: list[str] = []
