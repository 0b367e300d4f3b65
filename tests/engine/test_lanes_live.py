"""Cursors, sweeps and floors against the real claim: what commits late is found, and goes first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openqueue.worker.intake.lanes import Lanes
from tests.engine.calls import Engine
from tests.engine.conftest import Another


def ids(rows: list[Any]) -> list[Any]:
    return [row["id"] for row in rows]


async def sweeps(engine: Engine, lanes: Lanes, times: int = 4) -> list[Any]:
    return [row["id"] for _ in range(times) for row in await engine.claim_by(lanes, lanes.sweep())]


async def settled(engine: Engine, lanes: Lanes) -> list[Any]:
    """Sweep until nothing is left to look through; another test's transaction may be open on this server."""
    found: list[Any] = []
    async with asyncio.timeout(60):
        while not lanes.swept:
            found += await sweeps(engine, lanes, 1)
    return found


async def test_a_job_that_commits_late_is_found_by_the_next_sweep(engine: Engine, another: Another) -> None:
    writer = await another()
    transaction = writer.db.transaction()
    await transaction.start()
    late = await writer.add_one()
    newer = await engine.add_one()
    lanes = Lanes()
    assert ids(await engine.claim_by(lanes, lanes.forward())) == [newer]
    assert await sweeps(engine, lanes) == []
    assert not lanes.swept
    await transaction.commit()
    assert ids(await engine.claim_by(lanes, lanes.sweep())) == [late]


async def test_the_floor_does_not_rise_over_a_transaction_that_no_snapshot_shows_as_open(
    engine: Engine, another: Another
) -> None:
    """Its id is newer than any that has ended, so that a snapshot's xmin and xmax both stand below it."""
    older, writer = await another(), await another()
    first, second = older.db.transaction(), writer.db.transaction()
    await first.start()
    await older.sql("SELECT pg_current_xact_id()")
    await second.start()
    late = await writer.add_one()
    await older.add_one()
    await first.commit()
    lanes = Lanes()
    assert len(await engine.claim_by(lanes, lanes.forward())) == 1
    assert await sweeps(engine, lanes) == []
    await second.commit()
    assert await sweeps(engine, lanes) == [late]


async def test_once_no_transaction_is_open_sweeps_settle_everything(engine: Engine) -> None:
    await engine.bulk(50)
    lanes = Lanes()
    while await engine.claim_by(lanes, lanes.forward(), 20):
        pass
    assert await settled(engine, lanes) == []


async def test_a_late_bulk_goes_before_what_came_after_it(engine: Engine, another: Another) -> None:
    """C2 at a fiftieth: 400 of 4,200 commit late while there is a backlog."""
    writer = await another()
    await late_bulk(engine, writer, 400, 4000)


@pytest.mark.scale
async def test_a_late_bulk_of_20000_goes_before_what_came_after_it(engine: Engine, another: Another) -> None:
    await late_bulk(engine, await another(), 20_000, 200_000)


async def late_bulk(engine: Engine, writer: Engine, late: int, backlog: int) -> None:
    transaction = writer.db.transaction()
    await transaction.start()
    bulk = await writer.bulk(late)
    for _ in range(4):
        await engine.bulk(backlog // 4)
    lanes = Lanes()
    await engine.claim_by(lanes, lanes.forward(), backlog // 20)
    await transaction.commit()
    await engine.claim_by(lanes, lanes.forward(), backlog // 20)
    found: list[Any] = []
    plan = lanes.sweep()
    while len(found) < late:
        found += ids(await engine.claim_by(lanes, plan, 1000))
        plan = lanes.forward()
    assert found[:late] == bulk


async def test_what_comes_back_with_its_old_place_is_found_after_the_floor_has_passed_it(
    engine: Engine, another: Another
) -> None:
    other = await another()
    job = await engine.add_one()
    assert ids(await engine.claim()) == [job]
    lanes = Lanes()
    await other.add(3)
    assert len(await other.claim_by(lanes, lanes.forward())) == 3
    await settled(other, lanes)
    assert await engine.finish([job], ["released"]) == ["applied"]
    assert await other.claim_by(lanes, lanes.forward()) == []
    assert not lanes.swept
    assert await sweeps(other, lanes, 1) == [job]


async def test_a_locked_job_hides_no_other_one_from_a_sweep(engine: Engine, another: Another) -> None:
    holder, writer = await another(), await another()
    transaction = writer.db.transaction()
    await transaction.start()
    late = await writer.bulk(2)
    await engine.add_one()
    lanes = Lanes()
    assert len(await engine.claim_by(lanes, lanes.forward())) == 1
    await transaction.commit()
    locked = holder.db.transaction()
    await locked.start()
    await holder.sql("SELECT FROM jobs WHERE id = $1 FOR UPDATE", late[0])
    assert await sweeps(engine, lanes) == [late[1]]
    await locked.rollback()
    assert await sweeps(engine, lanes) == [late[0]]


async def test_a_bell_moves_the_cursor_back_even_while_a_claim_is_under_way(
    engine: Engine, another: Another
) -> None:
    writer = await another()
    transaction = writer.db.transaction()
    await transaction.start()
    late = await writer.add_one()
    newer = await engine.add_one()
    lanes = Lanes()
    plan = lanes.forward()
    rows = await engine.claim(plan=plan)
    await transaction.commit()
    lanes.hear([["default", 0, 1]])
    lanes.learn(plan, rows, engine.position, 0.001)
    assert ids(rows) == [newer]
    assert ids(await engine.claim_by(lanes, lanes.forward())) == [late]


async def test_a_database_that_went_back_in_time_is_read_again_after_doubt(engine: Engine) -> None:
    await engine.bulk(10)
    lanes = Lanes()
    await engine.claim_by(lanes, lanes.forward())
    await settled(engine, lanes)
    await engine.sql("SELECT setval('job_seq', 5)")
    (again,) = await engine.bulk(1)
    assert await sweeps(engine, lanes, 1) == []
    lanes.doubt()
    assert ids(await engine.claim_by(lanes, lanes.forward())) == [again]
