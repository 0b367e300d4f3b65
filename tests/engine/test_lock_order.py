"""Calls that wait for rows of jobs take them in one order: so no two of them wait for each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another
from tests.engine.test_turns import fair, grouped

BATCH = """SELECT outcome FROM add_jobs(ARRAY(SELECT jsonb_build_object('task', 't', 'job_key', k)
    FROM unnest('{a,b}' || ARRAY(SELECT 'more ' || n FROM generate_series(1, {more}) n)) k))"""
FEW, MANY = BATCH.replace("{more}", "0"), BATCH.replace("{more}", "60")
LOCK = "SELECT id FROM jobs WHERE id = $1 FOR UPDATE"


async def test_who_completes_several_holds_none_while_it_waits_for_an_earlier_one(
    engine: Engine, another: Another
) -> None:
    jobs = sorted(await engine.add(3))
    await engine.claim(3)
    other, third = await another(), await another()
    async with other.db.transaction():
        await other.sql(LOCK, jobs[1])
        pid: Any = engine.db.get_server_pid()
        completing = asyncio.create_task(
            engine.sql(
                "SELECT complete_jobs($1, $2, $3) AS verdicts",
                engine.worker,
                jobs[::-1],
                [engine.claim_number],
            )
        )
        await blocked(third.db, pid)
        await other.sql(LOCK, jobs[2])
    (row,) = await completing
    assert row["verdicts"] == ["applied"] * 3
    assert await engine.sql("SELECT FROM jobs") == []


async def test_who_ends_turns_holds_none_while_it_waits_for_an_earlier_one(
    engine: Engine, another: Another
) -> None:
    """One that is to have its turn is locked by a claim, which goes on to lock another."""
    await fair(engine)
    jobs = sorted([*(await grouped(engine, "a", 3)), *(await grouped(engine, "b", 1))])
    assert len(await engine.claim(1)) == 1
    left = [row["id"] for row in await engine.sql("SELECT id FROM jobs WHERE worker = nobody() ORDER BY id")]
    assert len(left) == len(jobs) - 1
    for place, job in enumerate(left):
        await engine.sql("UPDATE jobs SET seq = $2 WHERE id = $1", job, -1000 - place)
    other, third = await another(), await another()
    pid: Any = engine.db.get_server_pid()
    async with other.db.transaction():
        await other.sql(LOCK, left[0])
        saying = asyncio.create_task(fair(engine, "strict"))
        await blocked(third.db, pid)
        await other.sql(LOCK, left[1])
    await saying
    rows = [*await engine.claim(9), *await engine.claim(9)]
    assert {row["id"] for row in rows} == {*left}


@pytest.mark.parametrize("batch", [FEW, MANY])
async def test_a_batch_with_keys_holds_none_while_it_waits_for_an_earlier_one(
    engine: Engine, another: Another, batch: str
) -> None:
    """Keys are in another order than the jobs that have them: who completes these meanwhile goes by jobs."""
    first, second = [await engine.add_one(job_key=key) for key in ("b", "a")]
    other, third = await another(), await another()
    pid: Any = engine.db.get_server_pid()
    async with other.db.transaction():
        await other.sql(LOCK, first)
        adding = asyncio.create_task(engine.sql(batch))
        await blocked(third.db, pid)
        await other.sql(LOCK, second)
    assert [row["outcome"] for row in await adding][:2] == ["replaced", "replaced"]


@pytest.mark.parametrize("batch", [FEW, MANY])
@pytest.mark.parametrize(
    ("running", "call"),
    [
        (True, "complete_jobs($1, $2, $3)"),
        (True, "fail_jobs($1, $2, $3)"),
        (False, "reschedule_jobs($2, priority => 1)"),
        (False, "permanently_fail_jobs($2)"),
    ],
)
async def test_a_batch_with_keys_and_who_acts_on_the_same_jobs_do_not_wait_in_a_circle(
    engine: Engine, another: Another, running: bool, call: str, batch: str
) -> None:
    first, second = [await engine.add_one(job_key=key) for key in ("b", "a")]
    if running:
        assert len(await engine.claim()) == 2
    adder, other, third = await another(), await another(), await another()
    asked = f"SELECT {call} FROM (SELECT $1::uuid, $2::uuid[], $3::bigint[]) AS given"
    async with other.db.transaction():
        await other.sql(LOCK, first)
        acting = asyncio.create_task(engine.sql(asked, engine.worker, [first, second], [engine.claim_number]))
        await blocked(third.db, engine.db.get_server_pid())
        adding = asyncio.create_task(adder.sql(batch))
        await blocked(third.db, adder.db.get_server_pid())
    await acting
    assert [row["outcome"] for row in (await adding)[2:]] == ["added"] * (0 if batch is FEW else 60)


async def test_batches_with_the_same_keys_wait_for_each_other_and_not_for_each_others_jobs(
    engine: Engine, another: Another
) -> None:
    """The first has found no job of the second key, where the second finds one: it may not lock that."""
    first, second, single, third = [await another() for _ in range(4)]
    async with single.db.transaction():
        await single.add_one(job_key="a")
        adding = [asyncio.create_task(first.sql(FEW))]
        await blocked(third.db, first.db.get_server_pid())
        made = await engine.add_one(job_key="b")
        adding.append(asyncio.create_task(second.sql(FEW)))
        await blocked(third.db, second.db.get_server_pid())
        assert await third.sql(f"{LOCK} NOWAIT", made)
    for one in adding:
        assert [row["outcome"] for row in await one] == ["replaced", "replaced"]


async def test_a_batch_of_very_many_keys_takes_no_lock_for_each(engine: Engine) -> None:
    """The locks of all sessions together have to fit into the server's memory."""
    jobs = ['{"task": "t", "job_key": "' + str(n) + '"}' for n in range(1000)]
    async with engine.db.transaction():
        await engine.sql("SELECT FROM add_jobs($1::text[]::jsonb[])", jobs)
        ((held,),) = await engine.sql(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE d.datname = current_database() AND l.pid = pg_backend_pid() AND l.locktype = 'advisory'"
        )
    assert held <= 50
