"""What a call reads is in proportion to its batch, whatever lies beside it and whatever the statistics say.

Measured as rows and index entries touched by the real calls, on a connection whose plans were made while the
tables were empty, and on a fresh one; statistics are never gathered, as just after a bulk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from openqueue.runs.states import LIVE
from openqueue.worker.intake.lanes import Plan
from tests.engine.calls import Engine
from tests.engine.conftest import Another

BATCH = 100
SIZES = [pytest.param(1, id="gate"), pytest.param(50, id="full", marks=pytest.mark.scale)]
FILL = """
    WITH made AS (
        INSERT INTO run_requests (id, run_at, priority, max_attempts, namespace, task, queue, input)
        SELECT id, now(), 0, 25, 'default', $1, 'default', '{}' FROM unnest(new_ids($2::integer)) id
        RETURNING id
    )"""
READY = (
    FILL
    + """
    INSERT INTO jobs (id, seq, run_at, size, priority, max_attempts, namespace, queue, task)
    SELECT id, nextval('job_seq'), now(), 10, 0, 25, 'default', 'default', $1 FROM made"""
)
SCHEDULED = (
    FILL
    + """
    INSERT INTO jobs (id, state, run_at, size, priority, max_attempts, namespace, queue, task)
    SELECT id, 's', now() + interval '1 day', 10, 0, 25, 'default', 'default', $1 FROM made"""
)
FINISHED = (
    FILL
    + """
    INSERT INTO attempts
        (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, output)
    SELECT id, $3::uuid, 1, now(), now(), 1, 1, true, 'completed', '1' FROM made"""
)
LOGGED = """
    INSERT INTO run_log (run_id, at, attempt, kind, data)
    SELECT run_id, now(), 1, k, '{}' FROM attempts, unnest('{log,progress}'::text[]) k
    WHERE $1 = 't' LIMIT $2"""
TOUCHED = """
    SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))::bigint AS n
    FROM pg_class WHERE relnamespace = 'openqueue'::regnamespace AND relkind IN ('r', 'i')"""


async def touched(engine: Engine, call: Callable[[], Any]) -> int:
    """Rows and index entries that a call reads (of live and dead rows), in a transaction of its own."""
    async with engine.db.transaction():
        (before,) = await engine.sql(TOUCHED)
        await call()
        (after,) = await engine.sql(TOUCHED)
        return int(after["n"] - before["n"])


async def listed(engine: Engine, *statuses: str, after: UUID | None = None) -> list[Any]:
    """A page of runs of these statuses, newest first."""
    said = json.dumps({"status": statuses} if statuses else {})
    place = None if after is None else str(after)
    return await engine.call("search_runs", "default", said, "created", True, place, BATCH)


async def once(engine: Engine, runs: list[UUID]) -> dict[str, int]:
    """One of each call that a worker makes; how much each touched."""
    found: dict[str, int] = {}

    async def measure(name: str, call: Callable[[], Any]) -> None:
        found[name] = await touched(engine, call)

    claimed: list[UUID] = []

    async def claim() -> None:
        claimed.extend(row["id"] for row in await engine.claim(BATCH, tasks=["t"], starting=0))

    await engine.bulk(BATCH, priority=7)
    await measure("add", lambda: engine.bulk(BATCH))
    await measure("add_one", lambda: engine.value("add_one", "t", "{}", "default", "default", 0, 25, 1000))
    await measure("lane", lambda: engine.claim_lane(BATCH, priority=7))
    await engine.sql("SELECT release_jobs($1)", engine.worker)
    await engine.sql("DELETE FROM jobs WHERE priority = 7")
    await measure("claim", claim)
    assert len(claimed) == BATCH
    numbers = [engine.claim_number] * BATCH
    await measure("start", lambda: engine.value("start_jobs", engine.worker, claimed, numbers, False))
    logs = (engine.worker, claimed, numbers, ["log"] * BATCH, [0.0] * BATCH, ["{}"] * BATCH)
    await measure("log", lambda: engine.value("log_runs", *logs))
    half = BATCH // 2
    await measure("finish", lambda: engine.finish(claimed[:half]))
    await measure("again", lambda: engine.finish(claimed[:half]))
    await measure("others", lambda: engine.finish(claimed[half:], ["retry"] * half, delays=[9e4] * half))
    await measure("cancel", lambda: engine.value("cancel_run", claimed[-1], None))
    await measure("promote", lambda: engine.value("promote_run", claimed[-2]))
    await measure("retry", lambda: engine.value("retry_run", runs[0]))
    await measure("info", lambda: engine.call("run_info", runs[0]))
    await measure("events", lambda: engine.call("run_events", runs[0]))
    await measure("attempts", lambda: engine.call("run_attempts", runs[0]))
    await measure("all", lambda: listed(engine))
    await measure("live", lambda: listed(engine, *LIVE))
    await measure("ended", lambda: listed(engine, "completed", "failed"))
    await measure("release", lambda: engine.sql("SELECT release_jobs($1)", engine.worker))
    return found


@pytest.mark.parametrize("times", SIZES)
@pytest.mark.timeout(900)
async def test_what_is_touched_follows_the_batch_and_not_the_tables(
    engine: Engine, another: Another, times: int
) -> None:
    await engine.sql("ALTER TABLE jobs SET (autovacuum_enabled = off)")
    (run,) = await engine.bulk(1)
    await engine.run_once()
    for _ in range(2):  # the plans of this connection are made while nothing is there
        await once(engine, [run])
    for statement, task, count, *worker in (
        (READY, "t", 20_000 * times),
        (SCHEDULED, "t", 20_000 * times),
        (FINISHED, "t", 200_000 * times, engine.worker),
        (LOGGED, "t", 100_000 * times),
    ):
        await engine.sql(statement, task, count, *worker)
    (row,) = await engine.sql("SELECT run_id FROM attempts ORDER BY run_id DESC LIMIT 1")
    bounds = {
        "add": 10,
        "claim": 12,
        "lane": 12,
        "start": 6,
        "log": 8,
        "finish": 8,
        "again": 12,
        "others": 12,
        "all": 12,
        "live": 20,
        "ended": 60,  # also of jobs, whose dead rows somebody's snapshot in this database keeps
    }
    for one in (engine, await another()):
        found = await once(one, [row["run_id"]])
        print(found)
        too_much = {name: n for name, n in found.items() if n > bounds.get(name, 4) * BATCH}
        assert too_much == {}


async def test_a_sweep_reads_no_more_than_its_stretch(engine: Engine) -> None:
    await engine.sql(READY, "t", 20_000)
    plan = Plan(["default"], [0], [1000], [2000], sweep=True)
    n = await touched(engine, lambda: engine.claim(5000, plan=plan, tasks=["unknown"]))
    assert n < 6000


async def test_at_least_nine_of_ten_claims_are_heap_only_updates(engine: Engine) -> None:
    (before,) = await hot(engine)
    assert before["n_tup_upd"] == 0
    for _ in range(5):
        await engine.bulk(1000)
    claimed = 0
    while rows := await engine.claim(250):
        claimed += len(rows)
    await engine.sql("SELECT pg_stat_force_next_flush()")
    (after,) = await hot(engine)
    assert (claimed, after["n_tup_upd"]) == (5000, 5000)
    assert after["n_tup_hot_upd"] >= 0.9 * 5000


async def hot(engine: Engine) -> list[asyncpg.Record]:
    return await engine.sql(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'openqueue.jobs'::regclass"
    )


async def test_an_open_transaction_elsewhere_sends_no_finish_the_longer_way(
    engine: Engine, another: Another
) -> None:
    other = await another()

    async def finish() -> int:
        await engine.bulk(BATCH)
        claimed = [row["id"] for row in await engine.claim(BATCH)]
        assert len(claimed) == BATCH
        return await touched(engine, lambda: engine.finish(claimed))

    alone = [await finish() for _ in range(3)][-1]
    async with other.db.transaction(isolation="repeatable_read"):
        await other.sql("SELECT pg_current_xact_id()")
        beside = [await finish() for _ in range(3)][-1]
    assert beside <= alone * 1.2


async def test_a_page_far_down_a_list_of_runs_reads_no_more_than_the_first(engine: Engine) -> None:
    await engine.sql(FINISHED, "t", 5000, engine.worker)
    await engine.sql(SCHEDULED, "t", 5000)
    (ended,) = await engine.sql("SELECT run_id FROM attempts ORDER BY run_id OFFSET 150 LIMIT 1")
    (live,) = await engine.sql("SELECT id FROM jobs ORDER BY id OFFSET 150 LIMIT 1")
    for before, *statuses in ((ended["run_id"],), (ended["run_id"], "completed"), (live["id"], "scheduled")):
        page = partial(listed, engine, *statuses, after=before)
        assert len(await page()) == BATCH
        n = await touched(engine, page)
        assert n < 20 * BATCH, statuses
