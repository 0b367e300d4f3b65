"""asyncpg: a Connection, one acquired from a Pool, or the Pool itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from openqueue.db.drivers.executor import Rows, closed, other_loop, translating
from openqueue.errors import ConnectionFailed

__all__ = ["OfConnection", "OfPool"]


class OfConnection:
    """Runs statements on one connection, inside the transaction that is open on it."""

    def __init__(self, connection: Any, timeout: float | None) -> None:
        _check(connection)
        self._connection = connection
        self._timeout = timeout

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        """Run the statement. Codecs that the application set on its connection are left aside."""
        with translating(seconds=self._timeout):
            rows: Rows = await self._connection._execute(
                sql, args, 0, self._timeout, ignore_custom_codec=True
            )
        return rows

    @asynccontextmanager
    async def together(self) -> AsyncIterator[Self]:
        """The transaction that is open, or one of our own."""
        if self._connection.is_in_transaction():
            yield self
            return
        with translating(seconds=self._timeout):
            async with self._connection.transaction():
                yield self


class OfPool:
    """Runs each statement on some connection of the application's pool."""

    def __init__(self, pool: Any, timeout: float | None) -> None:
        if pool.is_closing():
            raise closed("pool")
        _check_loop(pool, "pool")
        self._pool = pool
        self._timeout = timeout

    async def fetch(self, sql: str, /, *args: Any) -> Rows:
        with translating(seconds=self._timeout):
            async with self._pool.acquire(timeout=self._timeout) as connection:
                return await OfConnection(connection, self._timeout).fetch(sql, *args)

    @asynccontextmanager
    async def together(self) -> AsyncIterator[OfConnection]:
        """One connection of the pool, in a transaction."""
        with translating(seconds=self._timeout):
            async with (
                self._pool.acquire(timeout=self._timeout) as connection,
                OfConnection(connection, self._timeout).together() as one,
            ):
                yield one


def _check(connection: Any) -> None:
    real = getattr(connection, "_con", connection)
    if real is None:
        raise ConnectionFailed("connection: it was already given back to its pool. Acquire another one.")
    if real.is_closed():
        raise closed("connection")
    _check_loop(real, "connection")


def _check_loop(owner: Any, what: str) -> None:
    if owner._loop is not asyncio.get_running_loop():
        raise other_loop(what)
