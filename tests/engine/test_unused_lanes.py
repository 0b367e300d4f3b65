"""Lanes that nobody uses any longer go; whoever needs one at that moment has it in the end."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from openqueue.cluster.events import LanesRemoved
from openqueue.cluster.lanes import UnusedLanes
from openqueue.db.pool import Database
from openqueue.events import Event
from tests.engine.calls import Engine
from tests.engine.conftest import Another
from tests.support.eventually import eventually

NOW = timedelta(0)


async def retire(engine: Engine, idle: timedelta = NOW) -> list[Any]:
    return list(await engine.value("retire_lanes", idle, 0))


async def lanes(engine: Engine) -> list[tuple[str, bool]]:
    """The rows there are, and whether they are marked."""
    rows = await engine.sql("SELECT queue, retired IS NOT NULL AS retired FROM lanes ORDER BY 1, 2")
    return [(row["queue"], row["retired"]) for row in rows]


async def add(engine: Engine, how: str, queue: str = "q") -> None:
    """Enqueue by each of the doors."""
    if how == "add_one":
        await engine.value("add_one", "t", "{}", "default", queue, 0, 25, 1000)
    elif how == "add_same":
        await engine.bulk(2, queue=queue)
    elif how == "add_job":
        await engine.add_one(queue_name=queue)
    else:
        await engine.add_one(queue_name=queue, job_key="k")


DOORS = ["add_one", "add_same", "add_job", "keyed"]


async def test_a_lane_without_a_job_goes_after_a_while_and_comes_back(engine: Engine) -> None:
    await add(engine, "add_one", "gone")
    await add(engine, "add_one", "used")
    (row,) = [row for row in await engine.claim() if row["queue"] == "gone"]
    await engine.finish([row["id"]])
    hour = timedelta(hours=1)
    assert await retire(engine, hour) == []
    assert await lanes(engine) == [("gone", True), ("used", False)]
    marks = await retire(engine)
    assert not await engine.value("any_open", [])
    assert await engine.value("drop_lanes", marks) == 1
    assert await lanes(engine) == [("used", False)]
    await add(engine, "add_one", "gone")
    assert [row["queue"] for row in await engine.claim()] == ["gone"]


async def test_where_there_are_few_nothing_is_marked(engine: Engine) -> None:
    await engine.run_once()
    await add(engine, "add_one")
    await engine.run_once()
    assert await engine.value("retire_lanes", NOW, 100) == []
    assert await lanes(engine) == [("q", False)]


@pytest.mark.parametrize("how", DOORS)
async def test_who_enqueues_after_the_mark_adds_a_row_that_stays(engine: Engine, how: str) -> None:
    await add(engine, "add_one")
    await engine.run_once()
    marks = await retire(engine)
    await add(engine, how)
    await add(engine, how)
    assert await lanes(engine) == [("q", False), ("q", True)]
    assert await retire(engine) == marks  # the new one is not put to the test while the old one is there
    await engine.value("drop_lanes", marks)
    assert await lanes(engine) == [("q", False)]
    assert await engine.run_once()


async def all_ended(engine: Engine, others: Any) -> None:
    """None of these is open: soon, as one of another test may be of a session that has no database yet."""

    async def ended() -> bool:
        return not await engine.value("any_open", others)

    await eventually(ended)


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
@pytest.mark.parametrize("how", DOORS)
async def test_who_relied_on_the_lane_before_the_mark_is_waited_for(
    engine: Engine, another: Another, how: str, isolation: Any
) -> None:
    """The enqueue sees the lane; then it is marked; then all is done that is to be done before the commit."""
    await add(engine, "add_one")
    await engine.run_once()
    writer = await another()
    transaction = writer.db.transaction(isolation=isolation)
    await transaction.start()
    await add(writer, how)
    marks = await retire(engine)
    others = await engine.value("open_transactions")
    assert await engine.value("any_open", others)
    await transaction.commit()
    await all_ended(engine, others)
    assert await engine.value("drop_lanes", marks) == 0
    assert await lanes(engine) == [("q", False)]
    assert await engine.run_once()


async def test_who_has_only_looked_before_the_mark_is_waited_for(engine: Engine, another: Another) -> None:
    """Its snapshot shows the lane unmarked for as long as it lasts, and it has no transaction id yet."""
    await add(engine, "add_one")
    await engine.run_once()
    writer = await another()
    transaction = writer.db.transaction(isolation="repeatable_read")
    await transaction.start()
    await writer.db.fetch("SELECT 1")
    marks = await retire(engine)
    others = await engine.value("open_transactions")
    await add(writer, "add_one")
    assert await engine.value("any_open", others)
    await transaction.commit()
    await all_ended(engine, others)
    assert await engine.value("drop_lanes", marks) == 0
    assert await engine.run_once()


async def test_without_the_wait_the_job_would_be_lost(engine: Engine, another: Another) -> None:
    """What the steps in between are for."""
    await add(engine, "add_one")
    await engine.run_once()
    writer = await another()
    transaction = writer.db.transaction()
    await transaction.start()
    await add(writer, "add_one")
    assert await engine.value("drop_lanes", await retire(engine)) == 1
    await transaction.commit()
    assert await engine.claim() == []


async def test_a_later_mark_is_not_dropped_by_who_waited_for_an_earlier_one(
    engine: Engine, another: Another
) -> None:
    await add(engine, "add_one")
    await engine.run_once()
    marks = await retire(engine)
    await add(engine, "add_one")
    await engine.value("drop_lanes", marks)
    await engine.run_once()
    later = await (await another()).value("retire_lanes", NOW, 0)
    assert await engine.value("drop_lanes", marks) == 0
    assert await lanes(engine) == [("q", True)]
    assert await engine.value("drop_lanes", later) == 1


async def test_a_scheduled_job_needs_no_lane(engine: Engine) -> None:
    run = await engine.add_one(
        queue_name="q", run_at=await engine.db.fetchval("SELECT now() + interval '1 h'")
    )
    assert await engine.value("drop_lanes", await retire(engine)) == 1
    await engine.sql("UPDATE jobs SET run_at = now()")
    await engine.claim()  # moves it into line
    assert await engine.status(run) in ("queued", "running")
    assert [row["id"] for row in await engine.claim()] in ([run], [])
    assert await engine.status(run) == "running"


async def test_a_lane_that_comes_back_is_another_one_for_who_remembers_it(engine: Engine) -> None:
    await add(engine, "add_one")
    await engine.run_once()
    (before,) = engine.position["lanes"]
    await engine.value("drop_lanes", await retire(engine))
    await add(engine, "add_one")
    await engine.claim()
    (after,) = engine.position["lanes"]
    assert before[:2] == after[:2]
    assert before[2] != after[2]


async def blocks(engine: Engine) -> int:
    """What a claim that finds nothing reads, once all is prepared."""
    for _ in range(2):
        await engine.claim(0)
    (row,) = await engine.sql(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT claim_jobs(gen_random_uuid(), 1, 100)"
    )
    plan = json.loads(row[0])[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


async def test_ten_thousand_dead_lanes_cost_a_claim_nothing_once_they_are_gone(
    dsn: str, engine: Engine, db: asyncpg.Connection
) -> None:
    await add(engine, "add_one", "mail")
    few = await blocks(engine)
    await db.execute(
        "INSERT INTO openqueue.lanes (namespace, queue, priority)"
        " SELECT 'default', 'day ' || n, 0 FROM generate_series(1, 10000) n"
    )
    many = await blocks(engine)
    told: list[Event] = []
    async with Database(dsn) as database:
        assert await UnusedLanes(database, told.append, idle=timedelta(hours=1)).once() == 0
        assert await UnusedLanes(database, told.append, idle=NOW).once() == 10_000
    assert told == [LanesRemoved(10_000)]
    assert many > 10_000

    async def costs_nothing() -> bool:
        # As autovacuum does within its minute. A session that another test is just opening has no database
        # yet, and what it might see is kept.
        await db.execute("VACUUM openqueue.lanes")
        return await blocks(engine) < few + 20

    await eventually(costs_nothing)


async def test_an_open_transaction_puts_it_off(dsn: str, engine: Engine, another: Another) -> None:
    await add(engine, "add_one")
    await engine.run_once()
    told: list[Event] = []
    other = await another()
    async with Database(dsn) as database:
        async with other.db.transaction():
            await other.db.fetch("SELECT 1")
            short = UnusedLanes(database, told.append, idle=NOW, beyond=0, patience=0)
            assert await short.once() == 0
        assert told == []
        patient = asyncio.create_task(UnusedLanes(database, told.append, idle=NOW, beyond=0).once())
        assert await patient == 1
    assert await lanes(engine) == []
