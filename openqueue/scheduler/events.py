"""What the scheduler tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from openqueue.events import Event

__all__ = [
    "ScheduleFailed",
    "ScheduleInvalid",
    "ScheduleTaken",
    "SchedulesLoaded",
    "TickFired",
    "TickSkipped",
    "TicksMissed",
]


@dataclass(frozen=True, slots=True)
class SchedulesLoaded(Event):
    """A leader keeps so many schedules now."""

    namespace: str
    schedules: int


@dataclass(frozen=True, slots=True)
class TickFired(Event):
    """A tick's run is enqueued. `late`: seconds from its time to the answer."""

    schedule: str
    at: datetime
    run_id: UUID
    late: float


@dataclass(frozen=True, slots=True)
class TickSkipped(Event):
    """A tick has no run, or none yet: `reason` is overlap or waiting."""

    schedule: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class TicksMissed(Event):
    """Ticks that nobody was there for, and that `catch_up` does not make up for."""

    schedule: str
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class ScheduleFailed(Event):
    """A tick could not be enqueued; the schedule goes on with its next one."""

    schedule: str
    error: str


@dataclass(frozen=True, slots=True)
class ScheduleInvalid(Event):
    """Nothing can be computed of a schedule: it fires nothing until it is edited."""

    schedule: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScheduleTaken(Event):
    """A task declares a schedule, and one of its key was added by hand: that one holds."""

    schedule: str
