"""Schemas for benchmarks: made, held, dropped, and nothing else touched.

Whoever made one holds an advisory lock of its name until it is dropped. A schema with the name and the mark
of a benchmark that nobody holds was left by a process that was killed, and the next benchmark drops it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from openqueue.db.faults import FROM_ASYNCPG, mapped
from openqueue.db.migrations import migrate
from openqueue.db.statements import Statements
from openqueue.db.target import Connection, Target, connect
from openqueue.errors import OpenQueueError

__all__ = ["PREFIX", "remove_abandoned", "temporary_schema"]

PREFIX = "openqueue_bench_"

PATIENCE = 30.0
"""Seconds for a drop, which waits for whoever still reads the schema."""

Tell = Callable[[str], None]


@asynccontextmanager
async def temporary_schema(url: str, tell: Tell) -> AsyncIterator[str]:
    """A schema with the engine, for as long as the block lasts; it is dropped however that ends."""
    name = PREFIX + secrets.token_hex(6)
    target, statements = Target.of(url), Statements(name)
    async with _connected(target) as holder:
        await holder.fetchval(statements["bench_hold"], name)
        try:
            async with holder.transaction():
                await holder.execute(statements["bench_create_schema"])
                await holder.execute(statements["bench_mark_schema"])
            await migrate(url, name)
            yield name
        finally:
            await _unbroken(_drop_after(target, name, tell))


async def remove_abandoned(url: str, tell: Tell) -> list[str]:
    """Drop what killed benchmarks left in this database; those that may not be dropped are told of."""
    removed = []
    async with _connected(Target.of(url)) as connection:
        statements = Statements()
        for row in await connection.fetch(statements["bench_schemas"]):
            name = row["name"]
            if not await connection.fetchval(statements["bench_hold"], name):
                continue  # its benchmark is running
            try:
                if row["ours"]:
                    await _drop(connection, name)
                    removed.append(name)
                    tell(f"Schema {name}, left by a benchmark that was killed, is removed.")
                else:
                    tell(f"Schema {name} was left by another user's benchmark: DROP SCHEMA {name} CASCADE.")
            finally:
                await connection.fetchval(statements["bench_let_go"], name)
    return removed


async def _drop_after(target: Target, name: str, tell: Tell) -> None:
    """Drop it over a new connection: the one before may have been broken off in the middle of something."""
    try:
        async with _connected(target) as connection:
            await _drop(connection, name)
    except OpenQueueError as error:
        tell(f"Schema {name} could not be dropped; the next `openqueue bench` does it. {error}")
        raise


async def _drop(connection: Connection, name: str) -> None:
    await connection.execute(Statements(name)["bench_drop_schema"], timeout=PATIENCE)


async def _unbroken(doing: Awaitable[None]) -> None:
    """Wait for it, also while we are cancelled, and only then let the cancellation through."""
    task = asyncio.ensure_future(doing)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and not task.exception():
        raise asyncio.CancelledError
    task.result()


@asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[Connection]:
    connection = await connect(target, application="openqueue bench")
    try:
        yield connection
    except (*FROM_ASYNCPG, TimeoutError) as error:
        raise mapped(error, str(target.place), doing="bench") from error
    finally:
        with suppress(Exception):
            await connection.close(timeout=5)
