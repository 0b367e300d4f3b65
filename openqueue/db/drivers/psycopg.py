"""psycopg 3: a Connection or an AsyncConnection.

The cursor is ours, of the plain kind: row factories, cursor classes and loaders that the application set on
its connection are left aside.
"""

from __future__ import annotations

import asyncio
from typing import Any

from openqueue.db.drivers.executor import InPlace, Rows, closed, translated
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

        try:
            with _plain(Cursor(self._connection, row_factory=dict_row)) as cursor:
                rows: Rows = cursor.execute(pyformat(sql), named(args)).fetchall()
        except Exception as error:
            raise translated(error) from error
        return rows


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

        try:
            async with asyncio.timeout(self._timeout):
                async with _plain(AsyncCursor(self._connection, row_factory=dict_row)) as cursor:
                    await cursor.execute(pyformat(sql), named(args))
                    rows: Rows = await cursor.fetchall()
        except Exception as error:
            raise translated(error, self._timeout) from error
        return rows


def _plain(cursor: Any) -> Any:
    """The cursor with ids as UUID, whatever the application made of them."""
    from psycopg.types.uuid import UUIDLoader

    cursor.adapters.register_loader("uuid", UUIDLoader)
    return cursor
