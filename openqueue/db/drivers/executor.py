"""What an adapter is: something that runs a statement on the caller's connection, and where it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any, Protocol, Self

from openqueue.db.faults import mapped
from openqueue.errors import ConnectionFailed, InvalidOption, OpenQueueError

__all__ = [
    "Executor",
    "InPlace",
    "Rows",
    "closed",
    "failed",
    "idle",
    "other_loop",
    "refused",
    "translated",
    "translating",
    "without_autocommit",
]

Rows = Sequence[Mapping[str, Any]]

WHERE = "the database of the given connection"


class Executor(Protocol):
    """What runs a statement; `openqueue.db.pool.Database` is one, too."""

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        """Run the statement with $1, $2 … and return its rows. JSON passes as text."""
        ...

    def together(self) -> AbstractAsyncContextManager[Executor]:
        """What runs several statements, all or none: in the transaction that is open.

        Where none is, and each statement would be one (autocommit), in one that ends with the block.
        """
        ...


class InPlace(ABC):
    """An executor over a synchronous driver: it blocks, in the caller's thread, and never awaits anything.

    How long a statement may take is then up to the connection (`statement_timeout`).
    """

    @abstractmethod
    def fetch_now(self, sql: str, args: tuple[Any, ...]) -> Rows:
        """Run the statement and return its rows."""

    @abstractmethod
    def together_now(self) -> AbstractContextManager[None]:
        """Within the block, statements are all or none; see `Executor.together`."""

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        return self.fetch_now(sql, args)

    @asynccontextmanager
    async def together(self) -> AsyncIterator[Self]:
        with self.together_now():
            yield self


def idle(connection: Any) -> bool:
    """Whether no transaction is open on a connection of psycopg or psycopg2."""
    return bool(connection.info.transaction_status == 0)  # PQTRANS_IDLE


@contextmanager
def without_autocommit(
    set_autocommit: Callable[[bool], object], commit: Callable[[], object], rollback: Callable[[], object]
) -> Iterator[None]:
    """A transaction on a connection that has none, by its driver's own calls; then autocommit again."""
    set_autocommit(False)
    try:
        try:
            yield
        except BaseException:
            with suppress(Exception):  # the session is gone, and its transaction with it
                rollback()
            raise
        commit()
    finally:
        with suppress(Exception):
            set_autocommit(True)


def translated(error: Exception, seconds: float | None = None) -> OpenQueueError:
    """The error of openqueue for one that a statement on the caller's connection raised."""
    if "attached to a different loop" in str(error):
        return other_loop("connection")
    return mapped(error, WHERE, seconds=seconds)


@contextmanager
def translating(
    translate: Callable[[Exception, float | None], OpenQueueError] = translated,
    *,
    seconds: float | None = None,
) -> Iterator[None]:
    """Within the block the driver's errors become openqueue's; `seconds` is the time limit that was set."""
    try:
        yield
    except OpenQueueError:
        raise
    except Exception as error:
        raise translate(error, seconds) from error


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
