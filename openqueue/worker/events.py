"""What a worker tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openqueue.events import Event

__all__ = [
    "AttemptAbandoned",
    "BellChanged",
    "ExpiredBeforeStart",
    "JobsClaimed",
    "JobsReleased",
    "LeaseWasLost",
    "LoopBlocked",
    "LoopFreed",
    "OutcomeUnsaved",
    "OutcomesStored",
    "PlacesWait",
    "RunFinished",
    "RunLogDropped",
    "RunStarted",
    "ServiceRecovered",
    "ServiceStumbled",
    "ThreadAbandoned",
    "WorkerDraining",
    "WorkerGivenUp",
    "WorkerProcessEnded",
    "WorkerProcessKilled",
    "WorkerProcessStarted",
    "WorkerStarted",
    "WorkerStopped",
]


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """The worker is registered and takes in work."""

    worker: UUID
    name: str
    tasks: int
    queues: tuple[str, ...]
    concurrency: int


@dataclass(frozen=True, slots=True)
class WorkerDraining(Event):
    """Intake has stopped; what runs has `grace` seconds."""

    worker: UUID
    running: int
    grace: float


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    """The worker has left. `released` jobs went back uncounted; `unsaved` outcomes could not be stored."""

    worker: UUID
    released: int
    unsaved: int


@dataclass(frozen=True, slots=True)
class WorkerGivenUp(Event):
    """Others had declared this worker dead (it was frozen, or cut off): what it ran is no longer its own."""

    worker: UUID
    running: int


@dataclass(frozen=True, slots=True)
class WorkerProcessStarted(Event):
    """The parent of several workers has started this one's process."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerProcessEnded(Event):
    """A worker's process has ended without having been told to, or not as it was told to.

    how      its exit code or the signal that ended it
    delay    seconds until it is started again; None: it is not
    error    what it said of the reason, if it did
    """

    name: str
    how: str
    delay: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class WorkerProcessKilled(Event):
    """A worker's process has not ended in time after having been told to, and was killed."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """An attempt of a run begins. `due`: since when it might have, `waited`: how many seconds ago that was.

    Both by the database's clock, as far as that is known to the worker.
    """

    run_id: UUID
    task: str
    queue: str
    attempt: int
    due: datetime | None = None
    waited: float | None = None


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """An attempt has ended: `outcome` as in runs.outcomes; `seconds` it ran; `error` is JSON text."""

    run_id: UUID
    task: str
    queue: str
    attempt: int
    outcome: str
    seconds: float
    error: str | None
    delay: float | None


@dataclass(frozen=True, slots=True)
class LeaseWasLost(Event):
    """A guarded write touched nothing: this worker no longer holds the run, and stops its attempt."""

    run_id: UUID
    task: str
    doing: str


@dataclass(frozen=True, slots=True)
class ExpiredBeforeStart(Event):
    """The deadline of a claimed job passed before it began: its run has ended as expired."""

    run_id: UUID
    task: str
    deadline: str


@dataclass(frozen=True, slots=True)
class JobsClaimed(Event):
    """A claim was answered, after `seconds`, with so many jobs; none is an answer, too."""

    jobs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OutcomesStored(Event):
    """A flush of so many outcomes was answered, after `seconds`."""

    outcomes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class JobsReleased(Event):
    """Jobs went back to their queues, uncounted."""

    jobs: int
    why: str


@dataclass(frozen=True, slots=True)
class ThreadAbandoned(Event):
    """A task in a thread did not end when told to; its thread is left behind."""

    run_id: UUID
    task: str
    why: str


@dataclass(frozen=True, slots=True)
class AttemptAbandoned(Event):
    """At shutdown an attempt did not end when cancelled; its job went back, the process ends without it."""

    run_id: UUID
    task: str


@dataclass(frozen=True, slots=True)
class OutcomeUnsaved(Event):
    """The process ends and could not store this outcome: the whole of it, for the log."""

    run_id: UUID
    task: str
    outcome: str
    output: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class RunLogDropped(Event):
    """The oldest log lines and progress patches of attempts found no room while none could be written."""

    entries: int


@dataclass(frozen=True, slots=True)
class BellChanged(Event):
    """The doorbell went on or off; `rate` is the arrivals a second that decided it."""

    on: bool
    rate: float


@dataclass(frozen=True, slots=True)
class ServiceStumbled(Event):
    """A part could not do its round, and goes on trying; told once, until it has recovered."""

    service: str
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class ServiceRecovered(Event):
    """A part that had stumbled works again."""

    service: str
    failures: int


@dataclass(frozen=True, slots=True)
class PlacesWait(Event):
    """All places are taken by attempts that wait for runs which wait for a place; one of them is named."""

    places: int
    task: str
    run_id: UUID
    waits_for: UUID


@dataclass(frozen=True, slots=True)
class LoopBlocked(Event):
    """The event loop stands still, for `seconds` so far: `task` computes, or waits without await, at `place`.

    Told from another thread, while it lasts. `task` is None where the culprit is not a run's own coroutine.
    """

    task: str | None
    run_id: UUID | None
    seconds: float
    place: str


@dataclass(frozen=True, slots=True)
class LoopFreed(Event):
    """The event loop turns again, after `seconds`."""

    seconds: float
