"""What the database layer tells: migrations, retried statements, and the notification session."""

from __future__ import annotations

from dataclasses import dataclass

from openqueue.events import Event

__all__ = [
    "EngineReplaced",
    "ListenerAbsent",
    "ListenerConnected",
    "ListenerLost",
    "MigrationApplied",
    "MigrationWaiting",
    "SchemaIsNewer",
    "StatementRetried",
]


@dataclass(frozen=True, slots=True)
class StatementRetried(Event):
    """A statement lost against others (a deadlock, say), changed nothing, and is sent again."""

    statement: str
    attempt: int
    error: str


@dataclass(frozen=True, slots=True)
class ListenerConnected(Event):
    """Notifications arrive: proven by one that this process sent to itself. `again` after a loss."""

    channel: str
    again: bool


@dataclass(frozen=True, slots=True)
class ListenerLost(Event):
    """No notifications for now; the next try is `retry_in` seconds away. Work is still found by polling."""

    channel: str
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class ListenerAbsent(Event):
    """Nothing is listened for: the only way to the database is a pooler. Work is found by polling."""

    channel: str
    why: str


@dataclass(frozen=True, slots=True)
class MigrationWaiting(Event):
    """The migration waits: for another process that migrates, or for a lock that someone holds."""

    schema: str
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MigrationApplied(Event):
    """A migration file was applied and recorded."""

    schema: str
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class EngineReplaced(Event):
    """The functions and views of the engine were replaced as one set."""

    schema: str
    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SchemaIsNewer(Event):
    """The schema was migrated by a newer openqueue than this one, which knows migrations up to `known`."""

    schema: str
    migration: int
    known: int
