"""The caller's own connection, whatever its driver: the seam where foreign drivers plug in.

A statement that runs on the caller's connection runs in the caller's transaction, so that a job appears
with the commit and not otherwise. Each driver has an adapter, found by the module that the connection's
class comes from; no driver is imported for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from openqueue.db.faults import mapped
from openqueue.errors import ConnectionFailed, InvalidOption

__all__ = ["ADAPTERS", "Executor", "adapt"]

_WHERE = "the database of the given connection"


class Executor(Protocol):
    """What runs a statement; `openqueue.db.pool.Database` is one, too."""

    async def fetch(self, sql: str, /, *args: Any) -> Sequence[Mapping[str, Any]]:
        """Run the statement with $1, $2 … and return its rows. JSON passes as text."""
        ...


def adapt(connection: object, *, timeout: float | None = 10.0) -> Executor:
    """Make the caller's connection an `Executor`.

    Taken are a connection of asyncpg, one acquired from its pool, and the pool itself (a connection of
    it is then used outside any transaction). A statement may take `timeout` seconds. Raises
    InvalidOption for anything else, ConnectionFailed for a connection that is closed or belongs to
    another event loop.
    """
    for kind in type(connection).__mro__:
        adapter = ADAPTERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if adapter:
            return adapter(connection, timeout)
    kind = type(connection)
    raise InvalidOption(
        f"connection: {kind.__module__}.{kind.__qualname__} is not supported. Pass an asyncpg Connection, "
        "one acquired from an asyncpg Pool, or the Pool; or leave it out and the job is stored at once.",
        option="connection",
    )


class _Asyncpg:
    """Runs statements on one connection of asyncpg, inside the transaction that is open on it."""

    def __init__(self, connection: Any, timeout: float | None) -> None:
        _check(connection)
        self._connection = connection
        self._timeout = timeout

    async def fetch(self, sql: str, /, *args: Any) -> Sequence[Mapping[str, Any]]:
        """Run the statement. Codecs that the application set on its connection are left aside."""
        try:
            rows: Sequence[Mapping[str, Any]] = await self._connection._execute(
                sql, args, 0, self._timeout, ignore_custom_codec=True
            )
        except Exception as error:
            raise mapped(error, _WHERE, seconds=self._timeout) from error
        return rows


class _AsyncpgPool:
    """Runs each statement on some connection of the application's pool."""

    def __init__(self, pool: Any, timeout: float | None) -> None:
        if pool.is_closing():
            raise _closed("pool")
        _check_loop(pool, "pool")
        self._pool = pool
        self._timeout = timeout

    async def fetch(self, sql: str, /, *args: Any) -> Sequence[Mapping[str, Any]]:
        try:
            async with self._pool.acquire(timeout=self._timeout) as connection:
                return await _Asyncpg(connection, self._timeout).fetch(sql, *args)
        except Exception as error:
            raise mapped(error, _WHERE, seconds=self._timeout) from error


ADAPTERS: dict[tuple[str, str], Callable[[Any, float | None], Executor]] = {
    ("asyncpg", "Connection"): _Asyncpg,
    ("asyncpg", "PoolConnectionProxy"): _Asyncpg,
    ("asyncpg", "Pool"): _AsyncpgPool,
}
"""For each supported class, by the package and the name of it or of a base, what makes it an Executor."""


def _check(connection: Any) -> None:
    real = getattr(connection, "_con", connection)
    if real is None:
        raise ConnectionFailed("connection: it was already given back to its pool. Acquire another one.")
    if real.is_closed():
        raise _closed("connection")
    _check_loop(real, "connection")


def _check_loop(owner: Any, what: str) -> None:
    if owner._loop is not asyncio.get_running_loop():
        raise ConnectionFailed(
            f"connection: the {what} belongs to another event loop than the one that is running. "
            f"Use a {what} that was made in this one."
        )


def _closed(what: str) -> ConnectionFailed:
    return ConnectionFailed(f"connection: the {what} is closed. Open another one, or leave it out.")
