"""Tasks: a function, its options, and the contract of its arguments.

`@task` keeps the function as it is and adds a way to enqueue it. The signature is the contract:
arguments are bound and validated when enqueued and again when run, and a type checker sees them.
What a task is called follows from its file (`naming`), so that the application that enqueues and
the worker that finds the file by itself (`discovery`) agree without being told.
"""

__all__: list[str] = []
