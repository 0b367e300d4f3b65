"""A claim from one lane: what an idle worker makes when the bell tells it where a job appeared."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from tests.engine.calls import Engine
from tests.engine.conftest import Another


def ids(rows: list[Any]) -> list[UUID]:
    return [row["id"] for row in rows]


async def test_it_takes_the_first_of_its_lane_behind_the_cursor_and_of_no_other(engine: Engine) -> None:
    first, second, third = await engine.add(3)
    await engine.add_one(priority=-1)
    await engine.add_one(queue_name="mail")
    rows = await engine.claim_lane(2)
    assert ids(rows) == [first, second]
    assert ids(await engine.claim_lane(2, cursor=rows[1]["seq"])) == [third]
    assert await engine.claim_lane() == []


async def test_its_jobs_are_held_and_finished_as_those_of_any_other_claim(engine: Engine) -> None:
    run = await engine.add_one(payload={"n": 1}, meta={"tenant": 42}, tags=["vip"])
    (row,) = await engine.claim_lane()
    assert (row["started"], row["attempt"], row["input"]) == (True, 1, '{"n": 1}')
    assert (json.loads(row["meta"]), row["tags"]) == ({"tenant": 42}, ["vip"])
    assert await engine.status(run) == "running"
    (held,) = await engine.sql("SELECT held_jobs($1) AS ids", engine.worker)
    assert held["ids"] == [run]
    assert await engine.finish([run], closed=[engine.claim_number]) == ["applied"]
    assert await engine.status(run) == "completed"
    assert await engine.sql("SELECT FROM claims") == []


async def test_it_passes_over_what_is_unknown_too_late_held_or_locked(
    engine: Engine, another: Another
) -> None:
    await engine.add_one(task="unknown")
    late = await engine.add_one()
    await engine.sql("UPDATE jobs SET deadline = now() - interval '1 second' WHERE id = $1", late)
    other = await another()
    held = await engine.add_one()
    assert ids(await other.claim_lane()) == [held]
    locked = await engine.add_one()
    async with other.db.transaction():
        await other.sql("SELECT FROM jobs WHERE id = $1 FOR UPDATE", locked)
        ready = await engine.add_one()
        assert ids(await engine.claim_lane()) == [ready]
    assert ids(await engine.claim_lane()) == [locked]


async def test_only_those_start_for_which_there_is_a_place_and_none_that_is_suspect(engine: Engine) -> None:
    runs = await engine.add(3)
    await engine.sql("UPDATE jobs SET suspect = true WHERE id = $1", runs[0])
    rows = await engine.claim_lane(starting=2)
    assert [(row["started"], row["suspect"]) for row in rows] == [
        (False, True),
        (True, False),
        (False, False),
    ]


async def test_it_is_bounded_by_bytes_and_takes_at_least_one(engine: Engine) -> None:
    runs = await engine.add(3)
    await engine.sql("UPDATE jobs SET size = 3000000")
    assert ids(await engine.claim_lane()) == runs[:2]
    await engine.sql("UPDATE jobs SET size = 30000000")
    assert ids(await engine.claim_lane()) == runs[2:]


async def test_a_claim_of_nothing_leaves_no_trace(engine: Engine) -> None:
    assert await engine.claim_lane() == []
    assert await engine.sql("SELECT FROM claims") == []
