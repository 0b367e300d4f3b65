"""What an adapter is: something that runs a statement on the caller's connection, and where it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from openqueue.db.faults import mapped
from openqueue.errors import ConnectionFailed, InvalidOption, OpenQueueError

__all__ = ["Executor", "InPlace", "Rows", "closed", "failed", "other_loop", "refused", "translated"]

Rows = Sequence[Mapping[str, Any]]

WHERE = "the database of the given connection"


class Executor(Protocol):
    """What runs a statement; `openqueue.db.pool.Database` is one, too."""

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        """Run the statement with $1, $2 … and return its rows. JSON passes as text."""
        ...


class InPlace(ABC):
    """An executor over a synchronous driver: it blocks, in the caller's thread, and never awaits anything.

    How long a statement may take is then up to the connection (`statement_timeout`).
    """

    @abstractmethod
    def fetch_now(self, sql: str, args: tuple[Any, ...]) -> Rows:
        """Run the statement and return its rows."""

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        return self.fetch_now(sql, args)


def translated(error: Exception, seconds: float | None = None) -> OpenQueueError:
    """The error of openqueue for one that a statement on the caller's connection raised."""
    if "attached to a different loop" in str(error):
        return other_loop("connection")
    return mapped(error, WHERE, seconds=seconds)


def closed(what: str) -> ConnectionFailed:
    """The caller's `what` was closed before."""
    return ConnectionFailed(f"connection: the {what} is closed. Open another one, or leave it out.")


def failed(why: object) -> ConnectionFailed:
    """The transaction on the caller's connection cannot go on, says the library that keeps it."""
    return ConnectionFailed(
        "The transaction on this connection has already failed: an earlier statement in it raised an error "
        f"({why}). Roll it back and begin again."
    )


def other_loop(what: str) -> ConnectionFailed:
    """The caller's `what` was made in another event loop."""
    return ConnectionFailed(
        f"connection: the {what} belongs to another event loop than the one that is running. "
        f"Use a {what} that was made in this one."
    )


def refused(why: str) -> InvalidOption:
    """The connection is not one that can be used."""
    return InvalidOption(f"connection: {why}", option="connection")
