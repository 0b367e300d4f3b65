"""Keys, case by case: each test is a row of docs/keys.md."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another
from tests.support.transcript import tables

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "keys.md"
MODES = ("replace", "keep_time", "skip", "merge")
OVERWRITE = ("replace", "keep_time", "merge")
HOUR = "1 hour"


def test_every_row_of_the_table_is_a_test_and_every_test_a_row() -> None:
    rows = {re.sub(r"\W+", "_", row[0].lower()) for row in tables(PAGE)["case"]}
    found = [
        name
        for file in ("test_keys.py", "test_merge.py", "test_idempotency.py")
        for name in re.findall(r"^async def test_(\w+)", (TESTS / file).read_text(), re.MULTILINE)
    ]
    assert len(found) == len(rows)
    assert set(found) == rows


async def keyed(engine: Engine, mode: str = "replace", n: int = 1, **options: Any) -> UUID:
    """One of the jobs with the key k."""
    return await engine.add_one(job_key="k", job_key_mode=mode, payload={"n": n}, **options)


async def later(engine: Engine, how: str = HOUR) -> Any:
    """A time to come, by the database's clock."""
    return await engine.db.fetchval("SELECT clock_timestamp() + $1::text::interval", how)


async def key_of(engine: Engine, run: UUID) -> str | None:
    """The key that the live job has now."""
    (row,) = await engine.sql("SELECT key FROM jobs WHERE id = $1", run)
    key: str | None = row["key"]
    return key


@pytest.mark.parametrize("mode", MODES)
async def test_the_run_waits_and_was_never_tried(engine: Engine, mode: str) -> None:
    run = await keyed(engine, run_at=await later(engine) if mode == "keep_time" else None)
    assert await keyed(engine, mode, 2) == run
    assert (await engine.run(run))["input"] == {"n": 1 if mode == "skip" else 2}
    assert await engine.status(run) == ("scheduled" if mode == "keep_time" else "queued")
    (row,) = await engine.sql("SELECT count(*) AS n FROM jobs")
    assert row["n"] == 1


async def test_a_scheduled_run_is_replaced_by_one_for_now_and_back(engine: Engine) -> None:
    first, last = await later(engine), await later(engine, "2 hours")
    run = await keyed(engine, run_at=first)
    assert await keyed(engine) == run
    assert await engine.status(run) == "queued"
    assert await keyed(engine, run_at=last) == run
    assert (await engine.status(run), (await engine.run(run))["run_at"]) == ("scheduled", last)
    assert await engine.claim() == []
    assert await keyed(engine) == run
    assert await engine.run_once() == [run]


@pytest.mark.parametrize("mode", OVERWRITE)
async def test_every_enqueue_has_a_delay(engine: Engine, mode: str) -> None:
    times = [await later(engine, f"{n} hours") for n in (1, 2, 3)]
    (run,) = {await keyed(engine, mode, n, run_at=at) for n, at in enumerate(times)}
    row = await engine.run(run)
    assert row["run_at"] == (times[-1] if mode == "replace" else times[0])
    assert (row["status"], row["input"]) == ("scheduled", {"n": 2})


@pytest.mark.parametrize("mode", OVERWRITE)
async def test_a_ready_run_keeps_its_place_under_keep_time(engine: Engine, mode: str) -> None:
    run = await keyed(engine)
    behind = await engine.add_one()
    assert await keyed(engine, mode, 2, run_at=await later(engine) if mode != "replace" else None) == run
    rows = await engine.claim()
    assert [row["id"] for row in rows] == ([behind, run] if mode == "replace" else [run, behind])
    assert {row["id"]: row["input"] for row in rows}[run] == '{"n": 2}'


@pytest.mark.parametrize(
    ("changed", "stays"), [({}, True), ({"priority": 1}, False), ({"group_key": "g"}, False)]
)
async def test_a_blocked_run_keeps_its_place_under_keep_time(
    engine: Engine, changed: Any, stays: bool
) -> None:
    run = await keyed(engine, concurrency_key="c")
    (before,) = await engine.sql("SELECT state, gate, place FROM jobs")
    assert (before["state"], before["gate"]) == (b"b", "key c")
    assert await keyed(engine, "keep_time", 2, concurrency_key="c", **changed) == run
    (row,) = await engine.sql("SELECT state, gate, place FROM jobs")
    assert (row["state"], row["gate"]) == (b"b", "key c")
    assert (row["place"] == before["place"]) is stays
    assert (await engine.run(run))["input"] == {"n": 2}


async def test_the_queue_changes_under_keep_time(engine: Engine) -> None:
    run, other = await keyed(engine), await engine.add_one(queue_name="other")
    assert await keyed(engine, "keep_time", queue_name="other") == run
    assert [row["id"] for row in await engine.claim(queues={"other": None})] == [other, run]


@pytest.mark.parametrize("mode", OVERWRITE)
async def test_options_that_are_not_given_again_are_gone(engine: Engine, mode: str) -> None:
    deadline = await later(engine)
    given: Any = {"queue_name": "q", "priority": 3, "max_attempts": 2, "meta": {"a": 1}, "tags": ["t"]}
    run = await keyed(engine, deadline=deadline, group_key="g", concurrency_key="c", **given)
    assert await keyed(engine, mode) == run
    row = await engine.run(run)
    assert (row["queue"], row["priority"], row["max_attempts"]) == ("default", 0, 25)
    assert (row["meta"], row["tags"], row["deadline"]) == ({}, [], None)
    for table in ("jobs", "run_requests"):
        (row,) = await engine.sql(f"SELECT group_key, concurrency_key, key_limit, queue FROM {table}")
        assert tuple(row) == (None, None, None, "default")
    assert [row["id"] for row in await engine.claim()] == [run]


@pytest.mark.parametrize("mode", MODES)
async def test_the_run_has_been_claimed_ahead_but_not_started(engine: Engine, mode: str) -> None:
    await beside(engine, mode, 0)


@pytest.mark.parametrize("mode", MODES)
async def test_the_run_is_running(engine: Engine, mode: str) -> None:
    await beside(engine, mode, 1)


async def beside(engine: Engine, mode: str, starting: int) -> None:
    """A run that a worker has is left to it."""
    first = await keyed(engine)
    await engine.claim(starting=starting)
    second = await keyed(engine, mode, 2)
    assert (second == first) is (mode == "skip")
    assert await key_of(engine, first) == ("k" if mode == "skip" else None)
    assert await engine.finish([first]) == ["applied"]
    assert (await engine.run(first))["input"] == {"n": 1}
    assert await engine.run_once() == ([] if mode == "skip" else [second])


async def test_many_enqueues_while_the_run_is_running(engine: Engine) -> None:
    first = await keyed(engine)
    await engine.claim()
    (second,) = {await keyed(engine, mode, n) for n, mode in enumerate(OVERWRITE * 2)}
    assert second != first
    assert await key_of(engine, second) == "k"
    assert (await engine.run(second))["input"] == {"n": 5}


async def test_the_run_that_lost_its_key_fails(engine: Engine) -> None:
    first = await keyed(engine)
    await engine.claim()
    second = await keyed(engine, n=2)
    await engine.finish([first], ["retry"], delays=[0.0])
    assert await key_of(engine, first) is None
    assert await keyed(engine, "skip") == second
    assert {row["id"]: row["input"] for row in await engine.claim()} == {
        first: '{"n": 1}',
        second: '{"n": 2}',
    }


@pytest.mark.parametrize("mode", MODES)
async def test_the_run_waits_for_a_retry(engine: Engine, mode: str) -> None:
    await history(engine, mode, "retry")


@pytest.mark.parametrize("end", ["snoozed", "released"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_run_was_snoozed_or_given_back_by_a_worker(engine: Engine, mode: str, end: str) -> None:
    await history(engine, mode, end)


async def history(engine: Engine, mode: str, end: str) -> None:
    """What was tried is history: the run ends, and a new one takes the key."""
    first = await engine.add_one(job_key="k", payload={"list": [1], "n": 1})
    await engine.run_once(end, delays=3600.0)
    at = await later(engine, "2 hours")
    second = await engine.add_one(job_key="k", job_key_mode=mode, payload={"list": [2]}, run_at=at)
    assert (second == first) is (mode == "skip")
    if mode != "skip":
        assert (await engine.run(first))["error"]["type"] == "Replaced"
        assert await engine.status(first) == "cancelled"
        row = await engine.run(second)
        assert row["input"] == {"list": [1, 2] if mode == "merge" else [2]}
        assert (row["run_at"], row["attempt"]) == (at, 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "expired", "deleted"])
async def test_the_run_has_ended(engine: Engine, end: str, mode: str) -> None:
    run = await keyed(engine, deadline=await later(engine))
    if end == "cancelled":
        await engine.value("cancel_run", run, None)
    elif end == "expired":
        await engine.sql("UPDATE jobs SET deadline = now()")
        assert await engine.claim() == []
    else:
        await engine.run_once("completed" if end == "deleted" else end)
    assert await engine.status(run) == ("completed" if end == "deleted" else end)
    if end == "deleted":
        await engine.sql("DELETE FROM runs WHERE id = $1", run)
    assert await keyed(engine, mode) != run


async def test_a_finished_run_is_run_again(engine: Engine) -> None:
    first = await keyed(engine)
    await engine.run_once()
    await engine.value("retry_run", first)
    assert await keyed(engine, "skip") == first
    await engine.run_once()
    second = await keyed(engine)
    await engine.value("retry_run", first)
    assert await key_of(engine, first) is None
    assert await keyed(engine, "skip") == second


@pytest.mark.parametrize("mode", MODES)
async def test_two_tasks_with_one_key(engine: Engine, mode: str) -> None:
    assert len({await keyed(engine, mode, task=task) for task in ("a", "b", "a")}) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_two_namespaces_with_one_key(engine: Engine, mode: str) -> None:
    assert len({await keyed(engine, mode, namespace=name) for name in ("default", "b", "default")}) == 2


@pytest.mark.parametrize("mode", MODES)
async def test_two_connections_at_once_with_one_key(engine: Engine, another: Another, mode: str) -> None:
    writer, watch = await another(), await another()
    async with writer.db.transaction():
        run = await keyed(writer)
        second = asyncio.create_task(keyed(engine, mode, 2))
        await blocked(watch.db, engine.db.get_server_pid())
    assert await second == run
    (row,) = await engine.claim()
    assert row["input"] == ('{"n": 1}' if mode == "skip" else '{"n": 2}')


@pytest.mark.parametrize("mode", MODES)
async def test_the_first_of_two_is_rolled_back(engine: Engine, another: Another, mode: str) -> None:
    writer, watch = await another(), await another()
    transaction = writer.db.transaction()
    await transaction.start()
    gone = await keyed(writer)
    second = asyncio.create_task(keyed(engine, mode, 2))
    await blocked(watch.db, engine.db.get_server_pid())
    await transaction.rollback()
    assert await second != gone
    assert [row["input"] for row in await engine.claim()] == ['{"n": 2}']


async def test_a_transaction_with_skip_stays_open(engine: Engine, another: Another) -> None:
    writer = await another()
    run = await keyed(engine)
    async with writer.db.transaction():
        assert await keyed(writer, "skip") == run
        assert len(await engine.claim()) == 1
        async with asyncio.timeout(60):
            assert await engine.finish([run]) == ["applied"]


@pytest.mark.parametrize(
    ("mode", "value"), [("replace", [2]), ("keep_time", [2]), ("skip", [1]), ("merge", [1, 2])]
)
async def test_two_equal_keys_in_one_batch(engine: Engine, mode: str, value: Any) -> None:
    rows = await engine.sql(
        """SELECT * FROM add_batch('{t}', '{"{\\"n\\": [1]}", "{}", "{\\"n\\": [2]}"}',
            keys => '{k, NULL, k}', key_modes => ARRAY[$1, NULL, $1])""",
        mode,
    )
    assert [row["outcome"] for row in rows] == [
        "added",
        "added",
        "existing" if mode == "skip" else "replaced",
    ]
    assert rows[0]["id"] == rows[2]["id"]
    assert (await engine.run(rows[0]["id"]))["input"] == {"n": value}


@pytest.mark.parametrize("mode", MODES)
async def test_two_batches_with_the_same_keys_in_opposite_order(
    engine: Engine, another: Another, mode: str
) -> None:
    writers = [engine, await another(), await another()]
    keys = [f"k{n}" for n in range(20)]
    add = """SELECT * FROM add_batch('{t}', array_fill('{}'::jsonb, ARRAY[20]), keys => $1::text[],
        key_modes => $2::text[])"""

    async def write(writer: Engine, order: list[str]) -> None:
        for _ in range(10):
            await writer.sql(add, order, [mode] * 20)

    await asyncio.gather(*(write(w, keys if n % 2 else keys[::-1]) for n, w in enumerate(writers)))
    assert len(await engine.claim()) == len(keys)
