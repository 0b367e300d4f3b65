"""Control where claims, changes of what holds and transactions that stay open meet."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another
from tests.engine.test_plans import touched


def ids(rows: list[Any]) -> list[Any]:
    return [row["id"] for row in rows]


async def control(engine: Engine, kind: str, name: str, **change: Any) -> None:
    await engine.sql("SELECT set_control($1, $2, $3::text::jsonb)", kind, name, json.dumps(change))


async def keys_of(engine: Engine, count: int) -> list[UUID]:
    """One job for each of so many concurrency keys."""
    rows = await engine.sql(
        "SELECT id FROM add_batch(ARRAY['t'], array_fill('{}'::jsonb, ARRAY[$1::integer]),"
        " concurrency_keys => ARRAY(SELECT 'k' || i FROM generate_series(1, $1) i))",
        count,
    )
    return ids(rows)


async def test_a_limit_taken_back_while_a_claim_is_under_way_leaves_its_slots_right(
    engine: Engine, another: Another
) -> None:
    await control(engine, "queue", "default", concurrency=5)
    await control(engine, "task", "t", concurrency=5)
    await engine.add(4)
    await engine.claim(2)
    # A claim that stops after it has asked what holds, and goes on when that has changed.
    other = await another()
    await engine.sql(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$"
    )
    await engine.sql("CREATE TRIGGER stop AFTER INSERT ON claims EXECUTE FUNCTION stop()")
    await engine.sql("SELECT pg_advisory_lock(7)")
    pid = await other.db.fetchval("SELECT pg_backend_pid()")
    claiming = asyncio.create_task(other.claim(1))
    await blocked(engine.db, pid)
    await control(engine, "queue", "default", concurrency=None)
    await control(engine, "task", "t", concurrency=None)
    await engine.sql("SELECT pg_advisory_unlock(7)")
    assert len(await claiming) == 1  # and what slots say is what jobs say: see invariants.py


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 1_000_000_000, "period": "1 second"},
        {"rate": 3, "period": "1 microsecond"},
        {"rate": 1, "period": "1 day", "burst": 1_000_000_000},
        {"rate": 1, "period": "100000 years"},
    ],
)
async def test_no_rate_is_too_high_or_too_low_to_claim(engine: Engine, change: dict[str, Any]) -> None:
    await control(engine, "queue", "default", **change)
    await control(engine, "task", "t", **change)
    (first, _) = await engine.add(2)
    assert first in ids(await engine.claim())
    await engine.claim()


async def test_a_claim_held_open_keeps_its_own_keys_only(engine: Engine, another: Another) -> None:
    await keys_of(engine, 500)
    other = await another()
    async with other.db.transaction():
        first = ids(await other.claim(10))
        assert len(first) == 10
        rest = ids(await engine.claim(10))
        assert len(rest) == 10
        assert not {*first} & {*rest}


async def test_an_end_of_fairness_finds_what_is_arranged_for_the_first_time(
    engine: Engine, another: Another
) -> None:
    await control(engine, "queue", "default", fairness="round_robin")
    jobs = await engine.add(5)
    other, third = await another(), await another()
    transaction = other.db.transaction()
    await transaction.start()
    assert len(await other.claim(1)) == 1
    pid = await third.db.fetchval("SELECT pg_backend_pid()")
    ending = asyncio.create_task(control(third, "queue", "default", fairness=None))
    asked = "SELECT count(*) FROM controls"
    while not ending.done() and not await engine.db.fetchval(
        "SELECT cardinality(pg_blocking_pids($1)) > 0", pid
    ):
        await engine.sql(asked)
    await transaction.commit()
    await ending
    assert sorted([*ids(await engine.claim()), *ids(await engine.claim())]) == sorted(jobs[1:])


async def test_a_limit_that_is_not_committed_yet_stops_nobody(engine: Engine, another: Another) -> None:
    await control(engine, "queue", "default", rate=100, period="1 second", burst=100)
    jobs = await engine.add(2)
    other = await another()
    await engine.sql("SET lock_timeout = '5s'")
    async with other.db.transaction():
        await control(other, "queue", "default", concurrency=1)
        assert await engine.claim() == []  # its rate is the other's for now
    assert ids(await engine.claim()) == jobs[:1]


async def test_a_change_that_waited_for_the_end_of_the_last_one_is_not_lost(
    engine: Engine, another: Another
) -> None:
    await control(engine, "queue", "q", concurrency=5)
    other = await another()
    async with engine.db.transaction():
        await control(engine, "queue", "q", rate=1, period="1 hour")
        pid = await other.db.fetchval("SELECT pg_backend_pid()")
        waiting = asyncio.create_task(control(other, "queue", "q", concurrency=7))
        await blocked(engine.db, pid)
        await control(engine, "queue", "q", concurrency=None, rate=None, period=None)
    await waiting
    (row,) = await engine.sql("SELECT concurrency FROM controls_in_force")
    assert row["concurrency"] == 7


@pytest.mark.parametrize("field", ["period", "ageing"])
async def test_a_span_without_an_end_is_refused(engine: Engine, field: str) -> None:
    change = {"period": "infinity", "rate": 1} if field == "period" else {"ageing": "infinity"}
    with pytest.raises(Exception, match=rf"^{field} "):
        await control(engine, "queue", "default", **change)


async def test_a_job_put_off_at_the_gate_of_its_task_gives_back_the_slot_of_its_key(engine: Engine) -> None:
    await control(engine, "task", "t", concurrency=0)
    job = await engine.add_one(concurrency_key="k")
    assert await engine.claim() == []
    other = await engine.add_one(task="u", concurrency_key="k")
    await engine.sql("SELECT reschedule_jobs(ARRAY[$1::uuid], run_at => now() + interval '1 hour')", job)
    assert ids(await engine.claim()) == [other]


async def test_a_lane_that_was_retired_meanwhile_still_knows_that_jobs_came_back(engine: Engine) -> None:
    await engine.add_one(concurrency_key="k")
    await engine.add()
    assert len(await engine.claim(1)) == 1
    await engine.sql("SELECT release_jobs($1)", engine.worker)
    await engine.sql("UPDATE jobs SET gate = 'back default', place = seq WHERE concurrency_key = 'k'")
    await engine.sql("UPDATE lanes SET retired = '2020-01-01'")
    await engine.add()
    await engine.sql("SELECT drop_lanes(ARRAY['2020-01-01'::timestamptz])")
    assert await engine.db.fetchval("SELECT openqueue.governed('default')")


async def test_C6_a_head_that_somebody_has_locked_keeps_its_turn(engine: Engine, another: Another) -> None:
    jobs = [await engine.add_one(concurrency_key="k") for _ in range(2)]
    other = await another()
    async with other.db.transaction():
        await other.sql("SELECT edit_run($1, payload => '{\"n\": 1}')", jobs[0])
        assert await engine.claim() == []
    await engine.sql("UPDATE openings SET at = clock_timestamp()")
    assert ids(await engine.claim()) == jobs[:1]


async def test_who_cannot_go_on_yet_asks_for_no_look_every_few_milliseconds(engine: Engine) -> None:
    await control(engine, "task", "t", concurrency=1)
    jobs = await engine.add(20)
    assert ids(await engine.claim()) == jobs[:1]
    await control(engine, "queue", "default", paused_until="infinity")
    await engine.finish(jobs[:1])
    await engine.claim()
    await engine.claim()
    assert engine.position["due"] > 0.5
    rows = await engine.sql("SELECT FROM jobs WHERE state = 'q'")
    assert len(rows) <= 2
    await control(engine, "queue", "default", paused_until=None)
    for job in jobs[1:]:
        assert ids(await engine.claim()) == [job]
        await engine.finish([job])


async def test_C10_jobs_with_keys_take_turns_by_their_groups(engine: Engine) -> None:
    await control(engine, "queue", "default", fairness="round_robin")
    for group, count in (("many", 60), ("few", 3)):
        await engine.sql(
            "SELECT FROM add_batch(ARRAY['t'], array_fill('{}'::jsonb, ARRAY[$2::integer]),"
            " group_keys => array_fill($1::text, ARRAY[$2]),"
            " concurrency_keys => ARRAY(SELECT $1 || i FROM generate_series(1, $2) i))",
            group,
            count,
        )
    got = ids(await engine.claim(12))
    rows = await engine.sql("SELECT FROM jobs WHERE id = ANY ($1) AND group_key = 'few'", got)
    assert len(rows) == 3


async def test_what_comes_while_a_claim_is_under_way_is_behind_nobodys_cursor(
    engine: Engine, another: Another
) -> None:
    await control(engine, "task", "other", concurrency=5)
    await engine.add()
    other = await another()
    await engine.sql(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$"
    )
    await engine.sql("CREATE TRIGGER stop AFTER INSERT ON claims EXECUTE FUNCTION stop()")
    await engine.sql("SELECT pg_advisory_lock(7)")
    pid = await other.db.fetchval("SELECT pg_backend_pid()")
    claiming = asyncio.create_task(other.claim())
    await blocked(engine.db, pid)
    await engine.add()
    await engine.sql("SELECT pg_advisory_unlock(7)")
    (row,) = await claiming
    assert other.position["lanes"] == [["default", 0, other.position["lanes"][0][2], row["seq"]]]


async def test_a_claim_reads_and_locks_nothing_of_limited_queues_that_have_nothing_for_it(
    engine: Engine,
) -> None:
    await engine.sql(
        "SELECT set_control('queue', 'q' || i, '{\"concurrency\": 1}') FROM generate_series(1, 100) i"
    )
    await engine.claim()
    for queue in ("q1", "q2", "free"):
        await engine.add_one(queue_name=queue)
    assert len(await engine.claim()) == 3
    await engine.add_one(queue_name="free")
    assert await touched(engine, lambda: engine.claim(10)) < 1000


async def test_jobs_of_two_fair_queues_with_the_same_turn_do_not_hold_each_other_up(engine: Engine) -> None:
    await control(engine, "task", "t", concurrency=0)
    for queue in ("a", "b"):
        await control(engine, "queue", queue, fairness="round_robin")
        await engine.add_one(queue_name=queue)
    assert await engine.claim() == []
    await control(engine, "task", "t", concurrency=1)
    for _ in range(2):
        (row,) = await engine.claim()
        await engine.finish([row["id"]])
