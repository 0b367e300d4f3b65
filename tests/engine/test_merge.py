"""Inputs, waiters and deadlines of runs that are replaced: each test is a row of docs/keys.md."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.engine.calls import Engine
from tests.engine.test_keys import OVERWRITE, keyed, later


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({"a": [1]}, {"a": [2, 3]}, {"a": [1, 2, 3]}),
        ({"a": [1], "b": 1}, {"a": [2], "b": 2}, {"a": [1, 2], "b": 2}),
        ({"a": [1]}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": [2]}, {"a": [2]}),
        ({"a": None}, {"a": [2]}, {"a": [2]}),
        ({"a": [1], "gone": [1]}, {"b": [2]}, {"b": [2]}),
        ({"a": {"deep": [1]}}, {"a": {"deep": [2]}}, {"a": {"deep": [2]}}),
        ({"a": [[1]], "b": []}, {"a": [[1], {"x": 1}], "b": []}, {"a": [[1], [1], {"x": 1}], "b": []}),
        ({"a": [1]}, {}, {}),
        ({}, {"a": [1]}, {"a": [1]}),
    ],
)
async def test_merge_with_what_is_not_a_list(engine: Engine, old: Any, new: Any, merged: Any) -> None:
    run = await engine.add_one(job_key="k", job_key_mode="merge", payload=old)
    assert await engine.add_one(job_key="k", job_key_mode="merge", payload=new) == run
    assert (await engine.run(run))["input"] == merged


async def test_merge_beyond_the_largest_input(engine: Engine) -> None:
    half = {"a": ["é" * 150_000, "e" * 300_000]}
    run = await engine.add_one(job_key="k", job_key_mode="merge", payload=half)
    with pytest.raises(
        asyncpg.InvalidParameterValueError, match=r"^payload has 1200\d+ bytes once"
    ) as refused:
        await engine.sql(
            "SELECT * FROM add_jobs(ARRAY['{\"task\": \"t\"}', jsonb_build_object('task', 't',"
            " 'job_key', 'k', 'job_key_mode', 'merge', 'payload', $1::text::jsonb)])",
            f'{{"a": ["{"é" * 300_000}"]}}',
        )
    assert (refused.value.column_name, refused.value.detail) == ("payload", "jobs[2]")
    assert (await engine.run(run))["input"] == half
    assert len(await engine.claim()) == 1


@pytest.mark.parametrize("mode", OVERWRITE)
async def test_somebody_waits_for_the_result_of_a_run_that_is_replaced(engine: Engine, mode: str) -> None:
    run = await keyed(engine)
    assert await engine.value("await_run", run)
    assert await keyed(engine, mode, 2, queue_name="other") == run
    (row,) = await engine.sql("SELECT awaited FROM jobs")
    assert row["awaited"]
    assert await engine.run_once(outputs=7) == [run]
    assert (await engine.run(run))["output"] == 7


@pytest.mark.parametrize("mode", OVERWRITE)
async def test_somebody_waits_for_a_retrying_run_that_is_replaced(
    engine: Engine, mode: str, db: asyncpg.Connection
) -> None:
    told: list[str] = []
    await db.add_listener("openqueue", lambda *heard: told.append(heard[-1]))
    run = await keyed(engine)
    await engine.run_once("retry", delays=3600.0)
    assert await engine.value("await_run", run)
    second = await keyed(engine, mode)
    assert not await engine.value("await_run", run)
    assert [one for one in told if "done" in one] == [f'{{"done": ["{run}"]}}']
    (row,) = await engine.sql("SELECT id, awaited FROM jobs")
    assert tuple(row) == (second, False)


@pytest.mark.parametrize("mode", OVERWRITE)
async def test_the_deadline_of_a_replaced_run(engine: Engine, mode: str) -> None:
    first, second = await later(engine), await later(engine, "2 hours")
    run = await keyed(engine, mode, deadline=first)
    for deadline in (second, None, first):
        assert await keyed(engine, mode, deadline=deadline) == run
        assert (await engine.run(run))["deadline"] == deadline
        (row,) = await engine.sql("SELECT NULLIF(deadline, 'infinity') AS deadline FROM jobs")
        assert row["deadline"] == deadline


async def test_keep_time_with_a_deadline_before_the_time_kept(engine: Engine) -> None:
    run = await keyed(engine, run_at=await later(engine))
    soon = await later(engine, "50 ms")
    assert await keyed(engine, "keep_time", deadline=soon) == run
    while not await engine.db.fetchval("SELECT clock_timestamp() > $1", soon):
        pass
    assert await engine.claim() == []
    assert await engine.status(run) == "expired"
