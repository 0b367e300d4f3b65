"""Claiming: order, bounds, what is passed over, and what runs at the same time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from openqueue.worker.intake.lanes import Lanes
from tests.engine.calls import Engine
from tests.engine.conftest import Another


def ids(rows: list[Any]) -> list[Any]:
    return [row["id"] for row in rows]


async def test_eight_workers_claim_each_of_a_thousand_jobs_once(engine: Engine, another: Another) -> None:
    jobs = await engine.bulk(1000)
    got: Counter[Any] = Counter()

    async def work(worker: Engine) -> None:
        lanes = Lanes()
        while rows := await worker.claim_by(lanes, lanes.forward(), 7) or await worker.claim(7):
            got.update(ids(rows))
            left = ids(rows)
            while left:  # others look at the same rows, and have them locked for an instant
                verdicts = await worker.finish(left, closed=[worker.claim_number])
                assert set(verdicts) <= {"applied", "busy"}
                left = [job for job, verdict in zip(left, verdicts, strict=True) if verdict == "busy"]

    await asyncio.gather(*[work(await another()) for _ in range(8)])
    assert got == Counter(jobs)
    assert await engine.sql("SELECT FROM jobs") == []
    assert await engine.sql("SELECT FROM claims") == []


async def test_lower_priority_numbers_go_first_and_then_what_was_ready_first(engine: Engine) -> None:
    later = await engine.add_one()
    last = await engine.add_one(priority=5)
    first = await engine.add_one(priority=-5)
    latest = await engine.add_one()
    assert ids(await engine.claim(3)) == [first, later, latest]
    assert ids(await engine.claim()) == [last]


async def test_a_scheduled_job_takes_its_place_when_it_is_due_not_when_it_was_added(engine: Engine) -> None:
    delayed = await engine.add_one(run_at=await soon(engine, "1 hour"))
    before = await engine.add_one()
    await engine.sql("UPDATE jobs SET run_at = clock_timestamp() WHERE id = $1", delayed)
    assert ids(await engine.claim()) == [before, delayed]


async def test_the_answer_says_when_the_next_scheduled_job_is_due(engine: Engine) -> None:
    assert (await engine.claim(), engine.position["due"]) == ([], None)
    await engine.add_one(run_at=await soon(engine, "5 minutes"))
    await engine.add_one(run_at=await soon(engine, "1 hour"))
    assert await engine.claim() == []
    assert 290 < engine.position["due"] < 300


async def test_jobs_of_unknown_tasks_wait_for_a_worker_that_knows_them(engine: Engine) -> None:
    unknown = await engine.bulk(200, task="unknown")
    known = await engine.bulk(3, task="known")
    lanes = Lanes()
    assert ids(await engine.claim_by(lanes, lanes.forward(), 100, tasks=["known"])) == known
    assert lanes.forward().cursors == [203]
    assert await engine.claim_by(lanes, lanes.forward(), 100, tasks=["known"]) == []
    assert ids(await engine.claim(tasks=["unknown", "known"])) == unknown


async def test_a_worker_of_some_queues_takes_from_no_other(engine: Engine) -> None:
    await engine.add_one(queue_name="a")
    b = await engine.add_one(queue_name="b")
    assert ids(await engine.claim(queues={"b": None, "c": None})) == [b]


async def test_a_bound_of_a_queue_holds_over_all_of_its_lanes_and_what_it_keeps_out_is_not_skipped(
    engine: Engine,
) -> None:
    await engine.bulk(5, queue="a", priority=0)
    late = await engine.bulk(5, queue="a", priority=1)
    await engine.bulk(5, queue="b", priority=2)
    lanes = Lanes()
    bounds: dict[str, int | None] = {"a": 5, "b": 5}
    assert len(await engine.claim_by(lanes, lanes.forward(), 100, queues=bounds)) == 10
    assert ids(await engine.claim_by(lanes, lanes.forward(), 100, queues=bounds)) == late
    assert await engine.claim_by(lanes, lanes.forward(), 100, queues={"a": 0, "b": 0}) == []


async def test_one_queue_is_not_served_before_the_other_for_ever(engine: Engine) -> None:
    await engine.bulk(10, queue="a")
    await engine.bulk(10, queue="b")
    last, seen = "", []
    for _ in range(4):
        engine.claim_number += 1
        *rows, _ = await engine.sql(
            "SELECT * FROM claim_jobs($1, $2, 1, last_queue => $3)", engine.worker, engine.claim_number, last
        )
        last = rows[0]["queue"]
        seen.append(last)
    assert seen == ["a", "b", "a", "b"]


async def test_a_claim_is_bounded_by_bytes_and_goes_on_where_it_stopped(engine: Engine) -> None:
    jobs = [await engine.add_one(payload={"x": "ä" * 200_000 + str(n), "n": n}) for n in range(4)]
    (size,) = await engine.sql("SELECT min(size) AS least, max(size) AS most FROM jobs")
    lanes = Lanes()
    engine.claim_number += 1
    found = []
    for _ in range(3):
        plan = lanes.forward()
        engine.claim_number += 1
        *rows, last = await engine.sql(
            """SELECT * FROM claim_jobs($1, $2, 10, bytes => $3, lane_queues => $4::text[],
                lane_priorities => $5::smallint[], lane_cursors => $6::bigint[])""",
            engine.worker,
            engine.claim_number,
            size["most"] + 1,
            plan.queues,
            plan.priorities,
            plan.cursors,
        )
        lanes.learn(plan, rows, json.loads(last["input"]), 0.001)
        found.append(ids(rows))
    assert found == [jobs[:2], jobs[2:], []]


async def test_only_those_that_start_show_as_running_until_the_rest_begins(engine: Engine) -> None:
    first, second = await engine.add(2)
    rows = await engine.claim(starting=1)
    assert [row["started"] for row in rows] == [True, False]
    assert (await engine.status(first), await engine.status(second)) == ("running", "queued")
    lost = await engine.value("start_jobs", engine.worker, [second, first], [engine.claim_number, 99], False)
    assert lost == [first]
    assert await engine.status(second) == "running"


async def test_a_job_whose_request_is_missing_is_claimed_without_input(engine: Engine) -> None:
    run = await engine.add_one()
    await engine.sql("DELETE FROM run_requests")
    (row,) = await engine.claim()
    assert (row["id"], row["input"]) == (run, None)


async def test_a_job_past_its_deadline_expires_and_is_never_claimed(engine: Engine) -> None:
    late = await engine.add_one(deadline=await soon(engine, "0 s"))
    scheduled = await engine.add_one(
        deadline=await soon(engine, "2 hours"), run_at=await soon(engine, "1 hour")
    )
    await engine.sql("UPDATE jobs SET deadline = now() WHERE id = $1", scheduled)
    good = await engine.add_one(deadline=await soon(engine, "1 hour"))
    assert ids(await engine.claim(promote=False)) == [good]
    assert await engine.claim() == []
    assert [await engine.status(run) for run in (late, scheduled, good)] == ["expired", "expired", "running"]
    assert (await engine.run(late))["error"]["type"] == "Expired"


async def test_a_locked_job_past_its_deadline_holds_up_no_claim(engine: Engine, another: Another) -> None:
    holder = await another()
    locked = await engine.add_one(deadline=await soon(engine, "0 s"))
    free = await engine.add_one()
    async with holder.db.transaction():
        await holder.sql("SELECT FROM jobs WHERE id = $1 FOR UPDATE", locked)
        async with asyncio.timeout(60):
            assert ids(await engine.claim()) == [free]
    await engine.claim()
    assert await engine.status(locked) == "expired"


async def test_a_job_that_changes_between_the_look_and_the_lock_is_claimed_all_the_same(
    engine: Engine, another: Another
) -> None:
    """The claim reads slowly (a large lane), and beside it every job is touched, over and over."""
    toucher = await another()
    jobs = await engine.bulk(300)
    stop = asyncio.Event()

    async def touch() -> None:
        while not stop.is_set():
            await toucher.sql("UPDATE jobs SET awaited = NOT awaited WHERE worker = nobody()")

    touching = asyncio.create_task(touch())
    lanes = Lanes()
    found: list[Any] = []
    try:
        async with asyncio.timeout(60):
            while len(found) < len(jobs):
                plan = lanes.sweep() if lanes.forward().cursors == [300] else lanes.forward()
                rows = await engine.claim_by(lanes, plan, 50)
                assert len(rows) == (await recorded(engine))
                found += ids(rows)
    finally:
        stop.set()
        await touching
    assert sorted(found) == jobs


async def recorded(engine: Engine) -> int:
    (row,) = await engine.sql(
        "SELECT count(*) AS n FROM jobs WHERE worker = $1 AND claim = $2", engine.worker, engine.claim_number
    )
    return int(row["n"])


async def test_a_claim_that_is_rolled_back_leaves_its_jobs_to_others(
    engine: Engine, another: Another
) -> None:
    holder = await another()
    jobs = await engine.bulk(5)
    transaction = holder.db.transaction()
    await transaction.start()
    assert ids(await holder.claim()) == jobs
    lanes = Lanes()
    assert await engine.claim_by(lanes, lanes.forward()) == []
    await engine.claim_by(lanes, lanes.sweep())
    await transaction.rollback()
    found: list[Any] = []
    for _ in range(3):
        found += ids(await engine.claim_by(lanes, lanes.sweep()))
    assert found == jobs


async def soon(engine: Engine, how: str = "20 ms") -> Any:
    return await engine.db.fetchval("SELECT clock_timestamp() + $1::text::interval", how)
