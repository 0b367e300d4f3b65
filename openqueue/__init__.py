"""openqueue: background work for Python on nothing but PostgreSQL.

The front door: declare with `task`, enqueue through the task or a `Client`, run with a `Worker`.
Names are imported when first asked for, so that a command line that only prints help stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openqueue.backoff import Exponential, Fixed
    from openqueue.clients import (
        Client,
        SyncClient,
        connect,
        connect_sync,
        enqueue,
        enqueue_many,
        enqueue_many_sync,
        enqueue_sync,
    )
    from openqueue.control.controls import Controls
    from openqueue.control.model import Control
    from openqueue.embedding import Worker, lifespan
    from openqueue.errors import (
        ConfigError,
        ConnectionFailed,
        InvalidArguments,
        InvalidOption,
        InvalidTask,
        LeaseLost,
        NotSerializable,
        OpenQueueError,
        ProcessDied,
        RunCancelled,
        RunExpired,
        RunFailed,
        RunNotFound,
        ScheduleNotFound,
        SchemaError,
        TooLarge,
        UnexpectedResult,
        UnexpectedState,
        UnknownTask,
    )
    from openqueue.rates import Rate
    from openqueue.runs.acting import Acted, Acting, AuditEntry
    from openqueue.runs.filter import RunFilter
    from openqueue.runs.history import RunCount, RunPage
    from openqueue.runs.model import Run, RunEvent, RunInfo
    from openqueue.scheduler.handle import Schedule
    from openqueue.scheduler.model import ScheduleInfo, TickInfo
    from openqueue.tasks.batch import Batch
    from openqueue.tasks.context import Context
    from openqueue.tasks.control import Cancelled, GiveUp, Snooze
    from openqueue.tasks.lifespans import worker_lifespan
    from openqueue.tasks.middleware import CallNext, middleware
    from openqueue.tasks.task import Task, task
    from openqueue.worker.events import RunFinished, RunStarted
    from openqueue.worker.subscribers import AttemptFailed, subscribe

    __version__: str

__all__ = [
    "Acted",
    "Acting",
    "AttemptFailed",
    "AuditEntry",
    "Batch",
    "CallNext",
    "Cancelled",
    "Client",
    "ConfigError",
    "ConnectionFailed",
    "Context",
    "Control",
    "Controls",
    "Exponential",
    "Fixed",
    "GiveUp",
    "InvalidArguments",
    "InvalidOption",
    "InvalidTask",
    "LeaseLost",
    "NotSerializable",
    "OpenQueueError",
    "ProcessDied",
    "Rate",
    "Run",
    "RunCancelled",
    "RunCount",
    "RunEvent",
    "RunExpired",
    "RunFailed",
    "RunFilter",
    "RunFinished",
    "RunInfo",
    "RunNotFound",
    "RunPage",
    "RunStarted",
    "Schedule",
    "ScheduleInfo",
    "ScheduleNotFound",
    "SchemaError",
    "Snooze",
    "SyncClient",
    "Task",
    "TickInfo",
    "TooLarge",
    "UnexpectedResult",
    "UnexpectedState",
    "UnknownTask",
    "Worker",
    "__version__",
    "connect",
    "connect_sync",
    "enqueue",
    "enqueue_many",
    "enqueue_many_sync",
    "enqueue_sync",
    "lifespan",
    "middleware",
    "subscribe",
    "task",
    "worker_lifespan",
]

_HOME = {
    "AttemptFailed": "worker.subscribers",
    "Batch": "tasks.batch",
    "CallNext": "tasks.middleware",
    "Cancelled": "tasks.control",
    "Client": "clients",
    "Context": "tasks.context",
    "Acted": "runs.acting",
    "Acting": "runs.acting",
    "AuditEntry": "runs.acting",
    "Control": "control.model",
    "Controls": "control.controls",
    "Exponential": "backoff",
    "Fixed": "backoff",
    "GiveUp": "tasks.control",
    "Rate": "rates",
    "Run": "runs.model",
    "RunCount": "runs.history",
    "RunEvent": "runs.model",
    "RunFilter": "runs.filter",
    "RunFinished": "worker.events",
    "RunInfo": "runs.model",
    "RunPage": "runs.history",
    "RunStarted": "worker.events",
    "Schedule": "scheduler.handle",
    "ScheduleInfo": "scheduler.model",
    "Snooze": "tasks.control",
    "SyncClient": "clients",
    "Task": "tasks.task",
    "TickInfo": "scheduler.model",
    "Worker": "embedding",
    "connect": "clients",
    "connect_sync": "clients",
    "enqueue": "clients",
    "enqueue_many": "clients",
    "enqueue_many_sync": "clients",
    "enqueue_sync": "clients",
    "lifespan": "embedding",
    "middleware": "tasks.middleware",
    "subscribe": "worker.subscribers",
    "task": "tasks.task",
    "worker_lifespan": "tasks.lifespans",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, and keep it (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("openqueue")
    elif name in __all__:
        value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
