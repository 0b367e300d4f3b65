"""Migrations that cannot run inside a transaction: statement by statement, each may be said again."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from openqueue.db.faults import FROM_ASYNCPG
from openqueue.db.statements import Statements
from openqueue.db.steps import Part, Step
from openqueue.db.target import Connection

__all__ = ["run_outside"]

_CONCURRENTLY: Final = re.compile(r"(CREATE (UNIQUE )?INDEX|DROP INDEX) CONCURRENTLY\b")


async def run_outside(
    connection: Connection,
    own: Statements,
    step: Step,
    *,
    run: Callable[[Part], Awaitable[None]],
    look: Callable[[], Awaitable[Step | None]],
    lock_timeout: str,
) -> bool:
    """Run the parts of a step, and record it; False: it is not the next one any more, look again.

    What is built CONCURRENTLY stands in nobody's way and waits as long as it must; all else waits for its
    locks no longer than `lock_timeout`, so that the work does not stand in line behind it.
    """
    before = await connection.fetchrow(own["migrator_timeouts"])
    assert before is not None
    try:
        if await look() != step:
            return False
        *parts, record = step.parts
        for part in parts:
            for row in await connection.fetch(own["migrator_invalid_indexes"], part.text):
                await _set(connection, own, "0")
                await run(Part(row["text"], part.name))
            await _set(connection, own, "0" if _CONCURRENTLY.search(part.text) else lock_timeout)
            await run(part)
        again = await look()
        if again is None or any(part.partition for part in again.parts):
            return False  # a partition was made before the index of its table was there to be taken over
        await run(record)
        return True
    finally:
        with suppress(*FROM_ASYNCPG):
            await connection.execute(own["migrator_set_timeouts"], *before)


async def _set(connection: Connection, own: Statements, lock_timeout: str) -> None:
    await connection.execute(own["migrator_set_timeouts"], lock_timeout, "0")
