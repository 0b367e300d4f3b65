"""Indexes of the history are built beside the work, month by month; one who is killed over it is followed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from openqueue.db.migrations import Migrator, migrate, plan_sql
from openqueue.errors import OpenQueueError
from tests.engine.calls import Engine
from tests.support.eventually import PATIENCE, eventually
from tests.support.history import add_month, add_runs, month_ago

NAMES = (
    *("attempts_times", "attempts_ended", "attempts_finished", "attempts_error"),
    *("run_requests_tasks", "run_requests_key"),
)
BEFORE = "; ".join(
    [
        *(f"DROP INDEX openqueue.{name}" for name in NAMES),
        "CREATE INDEX attempts_unhappy ON openqueue.attempts (outcome, finished_at) WHERE final",
        "DELETE FROM openqueue.migrations WHERE number = 8",
    ]
)
"""As it was before there was anything to find runs by."""

INDEXES = r"""
    SELECT t.relname AS name, regexp_replace(pg_get_indexdef(i.indexrelid), 'X \S+ ON', 'X ON') AS text,
        i.indisvalid AS valid, (SELECT p.relname FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
                                WHERE h.inhrelid = i.indexrelid) AS part_of
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace = 'openqueue'::regnamespace AND t.relname ~ '^(run_requests|attempts|run_log)'
    ORDER BY 1, 2"""

BUILDING = """
    SELECT a.pid FROM pg_stat_progress_create_index p JOIN pg_stat_activity a USING (pid)
    WHERE a.datname = current_database() AND p.phase LIKE 'waiting for writers%'"""


async def indexes(db: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.fetch(INDEXES)]


@asynccontextmanager
async def held_back(db: asyncpg.Connection, dsn: str) -> AsyncIterator[tuple[int, asyncio.Task[Any]]]:
    """A migration that, building an index of this month, waits for one that writes to it; and its session."""
    month = await add_month(db, month_ago(0))
    writer: Any = await asyncpg.connect(dsn)
    await writer.execute(f"BEGIN; LOCK TABLE ONLY openqueue.attempts_{month} IN ROW EXCLUSIVE MODE")
    migration = asyncio.create_task(migrate(dsn))
    try:
        yield await eventually(lambda: db.fetchval(BUILDING), what="it is built"), migration
    finally:
        await writer.close(timeout=60)
        await asyncio.wait([migration], timeout=PATIENCE)


async def test_work_goes_on_while_the_index_of_its_month_is_built(db: asyncpg.Connection, dsn: str) -> None:
    await add_runs(db, month_ago(3), 50, outcome="failed")
    fresh = await indexes(db)
    await db.execute(BEFORE)
    printed = await plan_sql(dsn)
    assert f"attempts_{month_ago(3):%Y%m}_times" in printed
    worker: Any = await asyncpg.connect(dsn, server_settings={"search_path": "openqueue"})
    engine = Engine(worker)
    async with held_back(db, dsn) as (_, migration), asyncio.timeout(PATIENCE):
        runs = await engine.bulk(20)
        rows = await engine.claim(20)
        assert {row["id"] for row in rows} == set(runs)
        await engine.finish([row["id"] for row in rows])
        assert not migration.done()
    await worker.close(timeout=60)
    assert (await migration).applied == ("0008_finding.sql",)
    assert await indexes(db) == fresh
    assert all(valid for _, _, valid, _ in fresh)
    assert await db.fetchval("SELECT count(*) FROM openqueue.attempts WHERE outcome = 'completed'") == 20


async def test_one_that_is_killed_is_followed_by_others_also_to_a_month_made_meanwhile(
    db: asyncpg.Connection, dsn: str
) -> None:
    later = month_ago(-9)
    for at in (month_ago(2), later):
        await add_month(db, at)
    fresh = await indexes(db)
    for table in ("run_requests", "attempts", "run_log"):
        await db.execute(f"DROP TABLE openqueue.{table}_{later:%Y%m}")
    await db.execute(BEFORE)
    async with held_back(db, dsn) as (pid, migration):
        await add_month(db, later)
        await db.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(OpenQueueError):
            await migration
    invalid = [name for name, _, valid, _ in await indexes(db) if not valid]
    assert len(invalid) >= 2  # of the table, and of the month
    reports = await asyncio.gather(*(migrate(dsn) for _ in range(3)))
    assert [name for report in reports for name in report.applied] == ["0008_finding.sql"]
    assert await indexes(db) == fresh
    assert await db.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


async def test_a_month_that_retention_drops_meanwhile_is_left_out(db: asyncpg.Connection, dsn: str) -> None:
    await add_month(db, month_ago(0))
    fresh = await indexes(db)
    old = month_ago(2)
    await add_month(db, old)
    await db.execute(BEFORE)
    async with held_back(db, dsn) as (_, migration):
        for table in ("run_requests", "attempts", "run_log"):
            await db.execute(
                f"ALTER TABLE openqueue.{table} DETACH PARTITION openqueue.{table}_{old:%Y%m};"
                f"DROP TABLE openqueue.{table}_{old:%Y%m}"
            )
    assert (await migration).applied == ("0008_finding.sql",)
    assert await indexes(db) == fresh


async def test_what_is_printed_waits_for_locks_no_longer_than_what_is_run(
    db: asyncpg.Connection, dsn: str
) -> None:
    await add_month(db, month_ago(2))
    await db.execute(BEFORE)
    printed = (await plan_sql(dsn)).split("-- 0008_finding.sql")[1].split("-- engine")[0]
    waits = re.findall(r"set_config\('lock_timeout', '(\w+)'", printed)
    texts = re.split(r"SELECT pg_catalog.set_config\('lock_timeout'.*\n", printed)[1:]
    assert len(waits) == len(texts) > 20
    for wait, text in zip(waits, texts, strict=True):
        assert wait == ("0" if "CONCURRENTLY" in text.split("ON ")[0] else "100ms"), text


async def test_a_lock_is_waited_for_anew_after_an_index_that_took_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, tries = [0.0], []
    monkeypatch.setattr("openqueue.db.migrator.time", SimpleNamespace(monotonic=lambda: now[0]))

    async def attempt() -> str:
        tries.append(now[0])
        if len(tries) == 1:
            now[0] += 7200
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        return "done"

    assert await Migrator(patience=300)._patiently(attempt) == "done"
    assert tries == [0.0, 7200.0]
