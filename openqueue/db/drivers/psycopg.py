"""psycopg 3: a Connection or an AsyncConnection.

The cursor is ours, of the plain kind: row factories, cursor classes and loaders that the application set on
its connection are left aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from openqueue.db.drivers.executor import InPlace, Rows, closed, idle, translating
from openqueue.db.drivers.paramstyle import named, pyformat

__all__ = ["OfAsyncConnection", "OfConnection"]


class OfConnection(InPlace):
    """Runs statements on a connection, in the caller's thread."""

    def __init__(self, connection: Any, timeout: float | None) -> None:
        if connection.closed:
            raise closed("connection")
        self._connection = connection

    def fetch_now(self, sql: str, args: tuple[Any, ...]) -> Rows:
        from psycopg import Cursor
        from psycopg.rows import dict_row

        with translating(), _plain(Cursor(self._connection, row_factory=dict_row)) as cursor:
            rows: Rows = cursor.execute(pyformat(sql), named(args)).fetchall()
        return rows

    @contextmanager
    def together_now(self) -> Iterator[None]:
        if not _needs_one(self._connection):
            yield
            return
        with translating(), self._connection.transaction():
            yield


class OfAsyncConnection:
    """Runs statements on a connection, in the caller's event loop."""

    def __init__(self, connection: Any, timeout: float | None) -> None:
        if connection.closed:
            raise closed("connection")
        self._connection = connection
        self._timeout = timeout

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        from psycopg import AsyncCursor
        from psycopg.rows import dict_row

        with translating(seconds=self._timeout):
            async with asyncio.timeout(self._timeout):
                async with _plain(AsyncCursor(self._connection, row_factory=dict_row)) as cursor:
                    await cursor.execute(pyformat(sql), named(args))
                    rows: Rows = await cursor.fetchall()
        return rows

    @asynccontextmanager
    async def together(self) -> AsyncIterator[Self]:
        """The transaction that is open, or one of our own."""
        if not _needs_one(self._connection):
            yield self
            return
        with translating(seconds=self._timeout):
            async with self._connection.transaction():
                yield self


def _needs_one(connection: Any) -> bool:
    """Whether each statement would be a transaction; otherwise one is open, or opened by the first."""
    return bool(connection.autocommit and idle(connection))


def _plain(cursor: Any) -> Any:
    """The cursor with ids as UUID, whatever the application made of them."""
    from psycopg.types.uuid import UUIDLoader

    cursor.adapters.register_loader("uuid", UUIDLoader)
    return cursor
