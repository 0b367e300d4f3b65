"""Tasks of the scenarios of control: each asks the database how many of its kind run beside it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import asyncpg

from openqueue import Context, task

SLOTS: Final = 3
TABLES: Final = """
CREATE TABLE beside (kind text, others int);
CREATE TABLE steps (customer text, step int, attempt int, n int GENERATED ALWAYS AS IDENTITY);
"""


@task(name="control.counted", concurrency=SLOTS, backoff="100ms")
async def counted(seconds: float) -> None:
    """Hold a lock that ends with this process, and note how many hold it."""
    connection = await asyncpg.connect(os.environ["OPENQUEUE_DATABASE_URL"])
    try:
        await connection.execute("SELECT pg_advisory_lock_shared(4711)")
        await connection.execute(
            "INSERT INTO beside SELECT 'counted', count(*) FROM pg_locks l"
            " JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND l.objid = 4711 AND l.classid = 0"
            " AND d.datname = current_database()"
        )
        await asyncio.sleep(seconds)
        await connection.execute("SELECT pg_advisory_unlock_shared(4711)")
    finally:
        await connection.close(timeout=5)


@task(name="control.rated", rate="20/s")
async def rated() -> None: ...


@task(name="control.free")
async def free() -> None: ...


@task(name="control.held", concurrency_key="busy", key_concurrency=2)
async def held(path: str) -> None:
    """Run until the file is there."""
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)


@task(name="control.step", concurrency_key=lambda customer, step: customer, backoff="50ms")
async def step(customer: str, step: int, ctx: Context = Context.injected) -> None:
    """Note that it is done; each third fails once."""
    if step % 3 == 0 and ctx.attempt == 1:
        raise RuntimeError("not yet")
    connection = await asyncpg.connect(os.environ["OPENQUEUE_DATABASE_URL"])
    try:
        await connection.execute("INSERT INTO steps VALUES ($1, $2, $3)", customer, step, ctx.attempt)
    finally:
        await connection.close(timeout=5)


@task(name="control.turn", queue="turns")
async def turn(group: str) -> None:
    await asyncio.sleep(0.001)
