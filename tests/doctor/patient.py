"""A case on a real database, and what the doctor finds there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from pydantic import SecretStr

from openqueue.doctor.case import Bounds, Case
from openqueue.doctor.examination import examine
from openqueue.doctor.findings import Examination, Finding, Report, Severity
from tests.support.eventually import PATIENCE

__all__ = ["Severity", "connected", "found", "look", "register", "report", "seen"]


async def look(dsn: str, *only: str, bounds: Bounds | None = None, **case: Any) -> Examination:
    """Examine it, with patience for a slow machine."""
    url = SecretStr(dsn)
    chosen = Case(**{"url": url, "timeout": PATIENCE, **case}, bounds=bounds or Bounds())
    return await examine(chosen, only)


async def report(dsn: str, check: str, **case: Any) -> Report:
    """What became of one check."""
    (one,) = (await look(dsn, check, **case)).reports
    return one


async def found(dsn: str, check: str, **case: Any) -> Finding:
    """The one finding of a check."""
    findings = (await report(dsn, check, **case)).findings
    assert len(findings) == 1, findings
    return findings[0]


async def seen(dsn: str, check: str, **case: Any) -> str:
    """What a check says of what is well."""
    one = await report(dsn, check, **case)
    assert one.findings == (), one.findings
    assert not one.skipped
    return one.said


@asynccontextmanager
async def connected(dsn: str, **settings: str) -> AsyncIterator[asyncpg.Connection]:
    """A session of somebody else."""
    connection = await asyncpg.connect(dsn, server_settings=settings)
    try:
        yield connection
    finally:
        await asyncio.shield(connection.close(timeout=PATIENCE))


async def register(db: asyncpg.Connection, name: str = "w-1", **columns: object) -> UUID:
    """A row of a worker that is not there, as it would have left it; `columns` as SQL."""
    worker = uuid4()
    await db.execute(
        "SELECT openqueue.register_worker($1, 'default', $2, 'host', 4711, '0.1.0', NULL, 10)", worker, name
    )
    for column, value in columns.items():
        await db.execute(f"UPDATE openqueue.workers SET {column} = {value} WHERE id = $1", worker)
    return worker
