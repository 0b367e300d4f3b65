"""A few connections, shared by everything in a process that asks the database something."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from sys import maxsize
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from openqueue.db.events import StatementRetried
from openqueue.db.faults import FROM_ASYNCPG, is_conflict, is_without_room, mapped, sqlstate
from openqueue.db.outage import Outage
from openqueue.db.statements import Statements
from openqueue.db.target import Connection, Place, Target, refuse_old
from openqueue.errors import ConnectionFailed
from openqueue.events import Emit, Events

__all__ = ["Database"]

TRIES = 5
"""How often a statement that loses against others is sent."""

RELEASE = 2.0
"""Seconds that the server may take to confirm that a statement was cancelled; then the connection goes."""

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Record = asyncpg.Record


class Session(Connection):
    """A connection without session state, so that nothing has to be reset when it goes back to the pool."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


class Database:
    """The process's connections to one schema: opened first, closed last.

    Statements are given by name (see `Statements`) or as text; arguments are $1, $2 … JSON passes as
    text in both directions: a `jsonb` parameter takes a JSON string, a `jsonb` column gives one. Every
    call ends within its `timeout` (seconds), every foreign error becomes one of `openqueue.errors`, and
    a statement that loses a deadlock is sent again. Connections, up to `max_size`, are made
    when needed and go after `idle` seconds without use. They keep no session state, so that a pooler in
    transaction mode may stand in between: `pooled` says that one does.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "openqueue",
        emit: Emit | None = None,
        max_size: int = 4,
        idle: float = 300.0,
        timeout: float = 10.0,
        application: str = "openqueue",
        statement_cache_size: int = 256,
        pooled: bool = False,
        statements: Statements | None = None,
    ) -> None:
        self.statements = statements or Statements(schema)
        self.schema = self.statements.schema
        self.timeout = timeout
        self.target = Target.of(dsn, pooled=pooled)
        self.outage = Outage()
        self._application = application
        self._max_size = max_size
        self._idle = idle
        self._cache_size = statement_cache_size
        self._emit = emit or Events().emit
        self._pool: Pool | None = None

    @property
    def place(self) -> Place:
        """The database, as messages name it."""
        return self.target.place

    async def open(self) -> Self:
        """Connect once, so that what is wrong is said now. Raises ConnectionFailed."""
        arguments = {
            "timeout": self.target.timeout or self.timeout,
            "command_timeout": self.timeout,
            "statement_cache_size": self._cache_size,
            "connection_class": Session,
            **self.target.arguments(self._application),
            "max_cacheable_statement_size": 0,
            "max_cached_statement_lifetime": 0,
        }
        pool = asyncpg.create_pool(
            **arguments,
            min_size=0,
            max_size=self._max_size,
            max_queries=maxsize,
            max_inactive_connection_lifetime=self._idle,
        )
        self._pool = await pool
        try:
            async with self.connection() as connection:
                refuse_old(connection, self.place)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self, *, timeout: float = 5.0) -> None:
        """Close the connections, those still in use by force once `timeout` has passed."""
        if self._pool is not None:
            with suppress(Exception):  # what does not close in time is cut off
                async with asyncio.timeout(timeout):
                    await self._pool.close()
            self._pool.terminate()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def fetch(self, statement: str, *args: Any, timeout: float | None = None) -> list[Record]:
        """Every row of the answer."""
        rows: list[Record] = await self._call("fetch", statement, args, timeout)
        return rows

    async def fetchrow(self, statement: str, *args: Any, timeout: float | None = None) -> Record | None:
        """The first row of the answer, or None."""
        row: Record | None = await self._call("fetchrow", statement, args, timeout)
        return row

    async def fetchval(self, statement: str, *args: Any, timeout: float | None = None) -> Any:
        """The first column of the first row of the answer, or None."""
        return await self._call("fetchval", statement, args, timeout)

    async def execute(self, statement: str, *args: Any, timeout: float | None = None) -> str:
        """Only what was done, as PostgreSQL words it: ``UPDATE 3``."""
        done: str = await self._call("execute", statement, args, timeout)
        return done

    @asynccontextmanager
    async def connection(self, *, timeout: float | None = None) -> AsyncIterator[Connection]:
        """One of the connections, for several statements; leave no session state on it."""
        connection = await self._acquire(timeout or self.timeout, "")
        try:
            yield connection
        except FROM_ASYNCPG as error:
            raise await self._mapped(error) from error
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(self, *, timeout: float | None = None) -> AsyncIterator[Connection]:
        """One of the connections, inside a transaction that commits if the body ends well."""
        async with self.connection(timeout=timeout) as connection, connection.transaction():
            yield connection

    def text(self, statement: str) -> str:
        """The SQL of a statement given by name, or as text. Raises KeyError for an unknown name."""
        return statement if " " in statement else self.statements[statement]

    async def _call(self, method: str, statement: str, args: tuple[Any, ...], timeout: float | None) -> Any:
        text = self.text(statement)
        doing = "" if text is statement else statement
        seconds = timeout or self.timeout
        for attempt in range(1, TRIES + 1):
            connection = await self._acquire(seconds, doing)
            try:
                return await getattr(connection, method)(text, *args, timeout=seconds)
            except Exception as error:
                if isinstance(error, TimeoutError):
                    self.cut_off_idle()
                if attempt == TRIES or not (is_conflict(error) or await self._room_made(connection, error)):
                    raise await self._mapped(error, doing, seconds) from error
                self._emit(StatementRetried(statement, attempt, str(error)))
            finally:
                await self._release(connection)
            await asyncio.sleep(random.uniform(0.5, 1.5) * 0.01 * 2**attempt)
        raise AssertionError("unreachable")

    async def _room_made(self, connection: Connection, error: Exception) -> bool:
        """Whether to try again, where the queue of notifications was full.

        PostgreSQL leaves it so, though nobody needs what is in it any more, until it is asked how full it is.
        """
        if not is_without_room(error):
            return False
        with suppress(*FROM_ASYNCPG):
            return bool(await connection.fetchval(self.text("notify_queue_usage")) < 1)
        return False

    async def _acquire(self, seconds: float, doing: str) -> Connection:
        if self._pool is None:
            raise ConnectionFailed(
                f"The connections to {self.place} are not open: use `async with Database`."
            )
        if self._pool.is_closing():
            raise ConnectionFailed(
                f"The client is closed: its connections to {self.place} are gone."
                " Use it within its `async with` block, or open another."
            )
        try:
            async with asyncio.timeout(seconds):
                connection: Any = await self._pool.acquire()
        except Exception as error:
            raise await self._mapped(error, doing, seconds) from error
        found: Connection = connection
        return found

    async def _release(self, connection: Any) -> None:
        if self._pool is not None:
            with suppress(Exception):  # it was thrown away then, and the next one to ask gets a new one
                await self._pool.release(connection, timeout=RELEASE)

    def cut_off_idle(self) -> None:
        """An answer did not come: what is idle may lead nowhere, too, and would cost as long again."""
        pool: Any = self._pool
        for holder in pool._holders if pool is not None else ():
            if holder.is_idle() and holder.is_connected():
                holder._con.terminate()

    async def _mapped(self, error: Exception, doing: str = "", seconds: float | None = None) -> Exception:
        if sqlstate(error) == "25006" and self._pool is not None:
            await self._pool.expire_connections()  # the primary may be another host by now
        return mapped(error, str(self.place), doing=doing, seconds=seconds, schema=self.schema)
