"""SQLAlchemy 2: a Session, an AsyncSession, the scoped kinds of both, a Connection or an AsyncConnection.

Its own `connection()` is always the way, never the driver's connection below it: only so does a transaction
begin where the session has not sent anything yet. The text goes past the compiler (`exec_driver_sql`), in the
style of the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, NoReturn, Self

from openqueue.db.drivers.executor import (
    InPlace,
    Rows,
    closed,
    failed,
    idle,
    refused,
    translated,
    translating,
    without_autocommit,
)
from openqueue.db.drivers.paramstyle import named, pyformat
from openqueue.errors import ConnectionFailed, OpenQueueError

__all__ = ["OfAsyncConnection", "OfAsyncSession", "OfConnection", "OfSession", "refuse_engine"]

NAMED = frozenset({"psycopg", "psycopg2"})
NUMBERED = frozenset({"asyncpg"})


class OfSession(InPlace):
    """Runs statements in a session's transaction, which it begins if need be."""

    def __init__(self, session: Any, timeout: float | None) -> None:
        self._session = session

    def fetch_now(self, sql: str, args: tuple[Any, ...]) -> Rows:
        with translating(_translated):
            return _run(self._session.connection(), sql, args)

    @contextmanager
    def together_now(self) -> Iterator[None]:
        with translating(_translated), _together(self._session.connection()):
            yield


class OfConnection(InPlace):
    """Runs statements in a connection's transaction, which it begins if need be."""

    def __init__(self, connection: Any, timeout: float | None) -> None:
        if connection.closed:
            raise closed("connection")
        self._connection = connection

    def fetch_now(self, sql: str, args: tuple[Any, ...]) -> Rows:
        with translating(_translated):
            return _run(self._connection, sql, args)

    @contextmanager
    def together_now(self) -> Iterator[None]:
        with translating(_translated), _together(self._connection):
            yield


class OfAsyncConnection:
    """As `OfConnection`, in the caller's event loop."""

    def __init__(self, connection: Any, timeout: float | None) -> None:
        if connection.closed:
            raise closed("connection")
        self._connection = connection
        self._timeout = timeout

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        with translating(_translated, seconds=self._timeout):
            async with asyncio.timeout(self._timeout):
                return await (await self._opened()).run_sync(_run, sql, args)  # type: ignore[no-any-return]

    @asynccontextmanager
    async def together(self) -> AsyncIterator[Self]:
        """The transaction that is open, or one of our own."""
        with translating(_translated, seconds=self._timeout):
            connection = await self._opened()
            inside = await connection.run_sync(_entered)
            try:
                yield self
            except BaseException as error:
                await connection.run_sync(_left, inside, error)
                raise
            await connection.run_sync(_left, inside, None)

    async def _opened(self) -> Any:
        return self._connection


class OfAsyncSession(OfAsyncConnection):
    """As `OfSession`, in the caller's event loop."""

    def __init__(self, session: Any, timeout: float | None) -> None:
        self._connection = session
        self._timeout = timeout

    async def _opened(self) -> Any:
        return await self._connection.connection()


def refuse_engine(engine: Any, _: float | None) -> NoReturn:
    """An engine has no transaction. Raises InvalidOption."""
    raise refused(
        f"a SQLAlchemy {type(engine).__name__} has no transaction. Pass a session or connection that has one."
    )


def _run(connection: Any, sql: str, args: tuple[Any, ...]) -> Rows:
    if _driver(connection) in NAMED:
        result = connection.exec_driver_sql(pyformat(sql), named(args))
    else:
        result = connection.exec_driver_sql(sql, args)
    rows: Rows = result.mappings().all()
    return rows


def _driver(connection: Any) -> str:
    dialect = connection.dialect
    if dialect.name != "postgresql" or dialect.driver not in NAMED | NUMBERED:
        raise refused(
            f"it is on {dialect.name}+{dialect.driver}. Jobs are kept in PostgreSQL; of SQLAlchemy's drivers "
            "psycopg, asyncpg and psycopg2 are supported (postgresql+psycopg://…)."
        )
    return str(dialect.driver)


@contextmanager
def _together(connection: Any) -> Iterator[None]:
    """The transaction that is open, or one of our own: by the dialect, as AUTOCOMMIT ignores `begin()`."""
    numbered = _driver(connection) in NUMBERED
    dialect, pooled = connection.dialect, connection.connection
    own, real = pooled.dbapi_connection, pooled.driver_connection
    if not own.autocommit or (real.is_in_transaction() if numbered else not idle(real)):
        yield
        return

    def set_autocommit(on: bool) -> None:
        dialect.set_isolation_level(own, "AUTOCOMMIT" if on else dialect.default_isolation_level)

    with without_autocommit(set_autocommit, lambda: dialect.do_commit(own), lambda: dialect.do_rollback(own)):
        yield


def _entered(connection: Any) -> ExitStack:
    """The block, begun: as is left, where the driver may be awaited."""
    inside = ExitStack()
    inside.enter_context(_together(connection))
    return inside


def _left(_: Any, inside: ExitStack, error: BaseException | None) -> None:
    inside.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


def _translated(error: Exception, seconds: float | None) -> OpenQueueError:
    from sqlalchemy import exc

    if isinstance(error, exc.StatementError) and isinstance(error.orig, exc.MissingGreenlet):
        error = error.orig
    if isinstance(error, exc.PendingRollbackError):
        return failed(_first_line(error))
    if isinstance(error, exc.UnboundExecutionError):
        return refused(f"{_first_line(error)} Pass the connection: session.connection(bind_arguments=…).")
    if isinstance(error, exc.MissingGreenlet):
        return refused(
            "this Session is the inside of an AsyncSession. Pass the AsyncSession to `await … .enqueue(…)`, "
            "or call enqueue_sync in a function that is given to its run_sync()."
        )
    if isinstance(error, exc.ResourceClosedError):
        return closed("connection")
    if isinstance(error, exc.InvalidRequestError):
        return ConnectionFailed(f"connection: the session cannot be used now: {_first_line(error)}")
    return translated(error, seconds)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
