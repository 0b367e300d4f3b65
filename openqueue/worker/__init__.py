"""The worker: one process that claims jobs, runs them, and stores how they ended.

A job's way: `producer` (bell, timer or poll; one claim) → `inflight` (a place in the bounded pool) →
`executor` (runs the task; no database in it) → `runs.outcomes.decide` → `completer` (one flush). Each calls
the next, none calls back. Beside it: `lanes` (where to read on, pure), `doorbell` (when to be told),
`heartbeat` (its own thread), `control` (cancellations), `worker` (the rings: start-up and shutdown are
nesting).
"""

__all__: list[str] = []
