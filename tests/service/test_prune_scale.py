"""O1: a prune blocks no claim and no enqueue, also with a report open on the month that goes.

What is asserted is that nobody who works ever waits for the pruner; how long each call took is printed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from openqueue.cluster.pruner import Pruner
from openqueue.cluster.retention import Pruned, Retention, Rule
from openqueue.db.pool import Database
from openqueue.db.target import Target
from tests.engine.calls import Engine
from tests.support.eventually import PATIENCE
from tests.support.history import add_runs, month_ago

SIZES = [pytest.param(5_000, id="gate"), pytest.param(10_000_000, id="full", marks=pytest.mark.scale)]
OLD = month_ago(6)
RETENTION = Retention((Rule(older_than=timedelta(days=90)),))
CHUNK = 500_000
BLOCKED = """
    SELECT b.application_name FROM unnest(pg_blocking_pids($1)) AS p (pid)
    JOIN pg_stat_activity b ON b.pid = p.pid AND b.application_name IN ('pruner', 'openqueue prune')"""


class Work:
    """Enqueues, claims and finishes one job after the other, on a connection of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.took: dict[str, list[float]] = {}
        self.blockers: list[str] = []
        self.rounds = 0

    async def once(self, engine: Engine) -> None:
        begin = time.perf_counter()
        await engine.value("add_one", "t", "{}", "default", "default", 0, 25, 1000)
        added = time.perf_counter()
        rows = await engine.claim(1, tasks=["t"])
        claimed = time.perf_counter()
        await engine.finish([row["id"] for row in rows], closed=[engine.claim_number])
        ended = time.perf_counter()
        for what, seconds in (
            ("enqueue", added - begin),
            ("claim", claimed - added),
            ("finish", ended - claimed),
        ):
            self.took.setdefault(what, []).append(seconds)
        self.rounds += 1

    @asynccontextmanager
    async def going_on(self, what: str) -> AsyncIterator[None]:
        """Work beside the body; at the end tell how long the calls took. Ten rounds at least."""
        connection: Any = await asyncpg.connect(self._dsn)
        watcher: Any = await asyncpg.connect(self._dsn)
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        engine, stop = Engine(connection), asyncio.Event()
        self.took, self.rounds = {}, 0

        async def work() -> None:
            while not stop.is_set() or self.rounds < 10:
                await self.once(engine)

        async def watch() -> None:
            while not stop.is_set():
                self.blockers += [row[0] for row in await watcher.fetch(BLOCKED, pid)]
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            group.create_task(watch())
            try:
                yield
            finally:
                stop.set()
        for name, seconds in self.took.items():
            ordered = sorted(seconds)
            marks = {
                share: ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.9, 0.99, 0.999, 1)
            }
            said = ", ".join(f"p{share * 100:g} {ms:.2f}" for share, ms in marks.items())
            print(f"{what:12} {name:8} {len(ordered):7} calls, ms: {said}")
        await connection.close(timeout=60)
        await watcher.close(timeout=60)


async def prune(database: Database, dsn: str, patience: float = PATIENCE) -> Pruned:
    pruner = Pruner(database, Target.of(dsn), "default", lambda _: None, patience=patience)
    done = await pruner.prune(RETENTION)
    print(done)
    return done


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.timeout(3600)
async def test_nobody_who_works_waits_for_a_prune(db: asyncpg.Connection, dsn: str, runs: int) -> None:
    await db.execute("SET synchronous_commit = off")
    late = month_ago(0) - timedelta(days=31)
    (kept,) = await add_runs(db, OLD, 1, finished=late, logging=False)
    for first in range(0, runs, CHUNK):
        at = OLD + timedelta(seconds=1 + first / 10_000)
        many = min(CHUNK, runs - first)
        await add_runs(db, at, many, logging=False, telling=False, apart=timedelta(microseconds=100))
    work, reader = Work(dsn), await asyncpg.connect(dsn)
    async with Database(dsn, application="pruner") as database:
        async with work.going_on("alone"):
            await asyncio.sleep(0 if runs < CHUNK else 30)
        async with work.going_on("batches"):
            done = await prune(database, dsn)
        assert (done.removed, done.months) == (runs, [])
        await db.execute("UPDATE openqueue.attempts SET finished_at = $2 WHERE run_id = $1", kept, OLD)
        for first in range(0, runs, CHUNK):
            at = OLD + timedelta(days=2, seconds=1 + first / 10_000)
            many = min(CHUNK, runs - first)
            await add_runs(db, at, many, logging=False, telling=False, apart=timedelta(microseconds=100))
        report = reader.transaction()
        await report.start()
        await reader.fetch("SELECT id FROM openqueue.runs ORDER BY id LIMIT 1")
        async with work.going_on("with report"):
            done = await prune(database, dsn, patience=0.0)
        (month,) = done.months
        assert month.waits
        await report.rollback()
        await reader.close(timeout=60)
        async with work.going_on("drop"):
            done = await prune(database, dsn)
        (month,) = done.months
        assert month.waits is None
    assert work.blockers == []
    assert await db.fetchval("SELECT count(*) FROM openqueue.run_requests WHERE id <= $1", kept) == 0
