"""What the cluster's duties tell."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from openqueue.events import Event

__all__ = [
    "DutyFailed",
    "HistoryPruned",
    "LanesRemoved",
    "LeaderElected",
    "LeaderLost",
    "PartitionsMade",
    "RunRescued",
    "WorkerSuspected",
]


@dataclass(frozen=True, slots=True)
class RunRescued(Event):
    """A run of a dead worker: `verdict` is ready (it runs again), failed (third lost worker) or cancelled."""

    run_id: UUID
    task: str
    verdict: str
    worker: UUID
    worker_name: str | None


@dataclass(frozen=True, slots=True)
class WorkerSuspected(Event):
    """A worker's liveness lock is free: if it does not beat soon, it is dead."""

    worker: UUID
    worker_name: str | None


@dataclass(frozen=True, slots=True)
class PartitionsMade(Event):
    """New month partitions of the history."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LanesRemoved(Event):
    """Lanes that had no job for a while are gone; their next job brings them back."""

    lanes: int


@dataclass(frozen=True, slots=True)
class HistoryPruned(Event):
    """History that need not be kept any longer is gone.

    runs      removed one by one, with their `attempts` and `log_lines`
    months    dropped as a whole; `waiting`: those that somebody still reads, and that go next time
    """

    runs: int
    attempts: int
    log_lines: int
    ticks: int
    months: tuple[str, ...]
    waiting: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class DutyFailed(Event):
    """A duty could not be done this time; it is tried again."""

    duty: str
    error: str


@dataclass(frozen=True, slots=True)
class LeaderElected(Event):
    """This worker leads its namespace now; `ended`: the session of a leader that had to be ended for it."""

    worker: UUID
    namespace: str
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class LeaderLost(Event):
    """This worker leads no longer, though it was not told to stop: `reason` says why."""

    worker: UUID
    namespace: str
    reason: str
