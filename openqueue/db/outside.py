"""Migrations that cannot run inside a transaction: statement by statement, each may be said again."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from openqueue.db.faults import FROM_ASYNCPG
from openqueue.db.quoting import quote_ident
from openqueue.db.statements import Statements
from openqueue.db.steps import Part, Step, lock_timeout_of
from openqueue.db.target import Connection
from openqueue.errors import SchemaError

__all__ = ["after_leftovers", "run_outside"]


_NAME: Final = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_INDEX: Final = (
    rf"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?({_NAME})\s+ON\s+%s\.({_NAME})"
)


async def after_leftovers(connection: Connection | None, own: Statements, todo: list[Step]) -> list[Step]:
    """The steps to print; before them, the drops of what an interrupted build of their indexes has left.

    `run_outside` drops that by itself; by the printed `IF NOT EXISTS` it would be taken for the index. One
    that is being built just now is none: the printed statement waits for it.
    """
    if connection is None:
        return todo
    parts = [part for step in todo if not step.transactional for part in step.parts]
    rows = await _invalid(connection, own, parts)
    left = tuple(Part(row["text"]) for row in rows if not row["building"])
    return [Step("left by an interrupted build", left, transactional=False), *todo] if left else todo


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
            for row in await _invalid(connection, own, [part]):
                await _set(connection, own, "0")
                await run(Part(row["text"], part.name))
            await _set(connection, own, lock_timeout_of(part, lock_timeout))
            try:
                await run(part)
            except SchemaError:
                if part.partition and await look() != step:
                    return False  # retention has dropped the partition meanwhile
                raise
        again = await look()
        if again is None or any(part.partition for part in again.parts):
            return False  # a partition was made before the index of its table was there to be taken over
        await run(record)
        return True
    finally:
        with suppress(*FROM_ASYNCPG):
            await connection.execute(own["migrator_set_timeouts"], *before)


async def _invalid(connection: Connection, own: Statements, parts: Iterable[Part]) -> list[Any]:
    """What a failed build has left of the indexes that these parts make."""
    pattern = re.compile(_INDEX % re.escape(quote_ident(own.schema)), re.IGNORECASE)
    made = [found.groups() for part in parts for found in pattern.finditer(part.text)]
    names = [[_unquoted(name) for name in pair] for pair in made]
    if not names:
        return []
    indexes, tables = zip(*names, strict=True)
    return list(await connection.fetch(own["migrator_invalid_indexes"], indexes, tables))


def _unquoted(name: str) -> str:
    """The name that SQL reads."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


async def _set(connection: Connection, own: Statements, lock_timeout: str) -> None:
    await connection.execute(own["migrator_set_timeouts"], lock_timeout, "0")
