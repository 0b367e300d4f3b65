"""The short ways in, for jobs without options: they store and refuse what the long one does."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another

LONG = """
    SELECT b.id FROM add_batch(ARRAY['t'], $1::text[]::jsonb[], queues => ARRAY['mail'],
                               priorities => ARRAY[-3], max_attempts => ARRAY[7]) b"""
STORED = """
    SELECT r.id, to_jsonb(r) - 'id' - 'run_at' AS request,
        to_jsonb(j) - 'id' - 'run_at' - 'seq' - 'size' AS job,
        r.run_at = j.run_at AND r.run_at <= clock_timestamp() AS at_once, j.size > 0 AS sized
    FROM run_requests r JOIN jobs j USING (id) ORDER BY j.seq"""

GOOD: dict[str, Any] = {
    "task": "t", "input": '{"n": 1}', "namespace": "default", "queue": "mail", "priority": -3, "max": 7,
    "bytes": 1000,
}  # fmt: skip
BAD = [
    ("task", ""),
    ("task", "t" * 201),
    ("namespace", ""),
    ("namespace", None),
    ("queue", "*"),
    ("queue", ""),
    ("priority", 40_000),
    ("max", 0),
    ("input", "[1]"),
    ("input", None),
    ("input", json.dumps({"n": "x" * 1000})),
]
NAMES = {"max": "max_attempts"}


async def one(engine: Engine, **given: Any) -> list[UUID]:
    values = {**GOOD, **given}
    return [await engine.value("add_one", *values.values())]


async def many(engine: Engine, **given: Any) -> list[UUID]:
    values = {**GOOD, **given}
    values["input"] = [GOOD["input"], values["input"]]
    return list(await engine.value("add_same", *values.values()))


@pytest.mark.parametrize(("add", "count"), [(one, 1), (many, 2)])
async def test_what_is_stored_is_the_same_as_by_the_long_way(engine: Engine, add: Any, count: int) -> None:
    short = await add(engine)
    await engine.sql(LONG, ['{"n": 1}'] * count)
    rows = await engine.sql(STORED)
    assert [row["id"] for row in rows[:count]] == short
    assert all(row["at_once"] and row["sized"] for row in rows)
    assert [(row["request"], row["job"]) for row in rows[:count]] == [
        (row["request"], row["job"]) for row in rows[count:]
    ]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


@pytest.mark.parametrize("add", [one, many])
@pytest.mark.parametrize(("field", "value"), BAD)
async def test_what_cannot_be_is_refused_with_the_field_named_and_nothing_is_stored(
    engine: Engine, add: Any, field: str, value: Any
) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await add(engine, **{field: value})
    assert caught.value.as_dict()["column_name"] == NAMES.get(field, field)
    assert await engine.sql("SELECT FROM run_requests") == []


@pytest.mark.parametrize("add", [one, many])
async def test_what_is_not_json_is_refused_by_the_server(engine: Engine, add: Any) -> None:
    with pytest.raises(asyncpg.DataError):
        await add(engine, input='{"n": nothing}')
    assert await engine.sql("SELECT FROM run_requests") == []


@pytest.mark.parametrize("add", [one, many])
async def test_input_may_begin_with_space_and_what_is_not_said_comes_from_the_catalogue(
    engine: Engine, add: Any
) -> None:
    await add(engine, input=' {"n": 2}', queue=None)
    rows = await engine.sql("SELECT input, queue FROM run_requests ORDER BY id DESC")
    assert (json.loads(rows[0]["input"]), rows[0]["queue"]) == ({"n": 2}, "default")


@pytest.mark.parametrize("add", [one, many])
async def test_the_bell_rings_with_the_lane_and_its_first_place_if_it_is_on(
    engine: Engine, another: Another, add: Any
) -> None:
    listening = await another()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await listening.db.add_listener("openqueue", lambda *told: heard.put_nowait(json.loads(told[3])))
    await add(engine)
    await engine.value("set_bells", engine.worker, "default", ["other"])
    await add(engine)
    await engine.value("set_bells", engine.worker, "default", ["mail"])
    await add(engine)
    (row,) = await engine.sql(
        "SELECT min(seq) AS seq FROM jobs WHERE id IN (SELECT id FROM jobs ORDER BY id DESC LIMIT $1)",
        1 if add is one else 2,
    )
    told = await heard.get()
    assert told == {"namespace": "default", "ready": [["mail", -3, row["seq"]]]}
    assert heard.empty()


async def test_a_new_lane_is_known_once_and_the_next_job_adds_no_other(engine: Engine) -> None:
    for _ in range(2):
        await one(engine)
        await many(engine)
    lanes = await engine.sql("SELECT namespace, queue, priority FROM lanes")
    assert [tuple(row) for row in lanes] == [("default", "mail", -3)]


async def test_ids_of_a_large_batch_are_different_in_order_and_of_version_7(engine: Engine) -> None:
    values = {**GOOD, "input": ["{}"] * 5000}
    ids = list(await engine.value("add_same", *values.values()))
    assert ids == sorted(set(ids))
    assert {(run.version, run.variant) for run in ids} == {(7, "specified in RFC 4122")}


@pytest.mark.parametrize("add", [one, many])
async def test_what_grows_when_it_is_stored_is_refused_by_its_size_then(engine: Engine, add: Any) -> None:
    grows = json.dumps({"n": [1e308] * 10})
    assert len(grows) < GOOD["bytes"]
    with pytest.raises(asyncpg.PostgresError) as caught:
        await add(engine, input=grows)
    assert "the limit is 1000" in str(caught.value)
    assert await engine.sql("SELECT FROM run_requests") == []
