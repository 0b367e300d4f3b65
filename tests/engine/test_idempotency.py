"""Idempotency keys, case by case: each test is a row of docs/keys.md."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from openqueue.cluster.idempotency import ExpiredKeys
from openqueue.db.pool import Database
from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another
from tests.engine.test_keys import MODES

OVER = "UPDATE idempotency SET expires = now()"


async def once(engine: Engine, key: str = "i", n: int = 1, **options: Any) -> UUID:
    """The run of this idempotency key."""
    return await engine.add_one(idempotency_key=key, payload={"n": n}, **options)


async def remembered(engine: Engine) -> list[UUID]:
    """The runs that are remembered, in the order of their keys."""
    return [row["run"] for row in await engine.sql("SELECT run FROM idempotency ORDER BY task, key")]


@pytest.mark.parametrize(
    "end", ["waiting", "running", "retry", "completed", "failed", "cancelled", "deleted"]
)
async def test_an_idempotency_key_after_the_run_has_ended(engine: Engine, end: str) -> None:
    run = await once(engine)
    if end == "running":
        await engine.claim()
    elif end != "waiting":
        await engine.run_once("completed" if end == "deleted" else end, delays=3600.0)
    if end == "deleted":
        await engine.sql("DELETE FROM runs WHERE id = $1", run)
    (row,) = await engine.sql(
        """SELECT * FROM add_jobs(ARRAY['{"task": "t", "idempotency_key": "i"}']::jsonb[])"""
    )
    assert (row["id"], row["outcome"]) == (run, "existing")
    (row,) = await engine.sql("SELECT count(*) AS n FROM run_requests")
    assert row["n"] == (0 if end == "deleted" else 1)


async def test_an_idempotency_key_with_another_input(engine: Engine) -> None:
    run = await once(engine, priority=1, tags=["a"])
    before = await engine.run(run)
    assert await once(engine, n=2, priority=2, queue_name="other") == run
    assert await engine.run(run) == before


async def test_an_idempotency_key_whose_time_is_over(engine: Engine) -> None:
    first = await once(engine)
    await engine.sql(OVER)
    second = await once(engine)
    assert second != first
    assert await once(engine) == second
    assert await remembered(engine) == [second]
    (row,) = await engine.sql("SELECT expires > now() + interval '23 h' AS long FROM idempotency")
    assert row["long"]


async def test_an_idempotency_key_in_two_tasks_or_namespaces(engine: Engine) -> None:
    runs = {
        await once(engine, task=task, namespace=name)
        for task in ("a", "b")
        for name in ("default", "other")
        for _ in range(2)
    }
    assert len(runs) == 4


async def test_two_connections_at_once_with_one_idempotency_key(engine: Engine, another: Another) -> None:
    writer, watch = await another(), await another()
    async with writer.db.transaction():
        run = await once(writer)
        second = asyncio.create_task(once(engine, n=2))
        await blocked(watch.db, engine.db.get_server_pid())
    assert await second == run
    assert [row["input"] for row in await engine.claim()] == ['{"n": 1}']


async def test_the_first_of_two_with_an_idempotency_key_is_rolled_back(
    engine: Engine, another: Another
) -> None:
    writer, watch = await another(), await another()
    transaction = writer.db.transaction()
    await transaction.start()
    gone = await once(writer)
    second = asyncio.create_task(once(engine, n=2))
    await blocked(watch.db, engine.db.get_server_pid())
    await transaction.rollback()
    assert await second != gone
    assert await remembered(engine) == [await second]
    assert [row["input"] for row in await engine.claim()] == ['{"n": 2}']


@pytest.mark.parametrize("keys", [None, ["z", "a", None, "b"], ["k", "k", "k", "k"]])
async def test_two_equal_idempotency_keys_in_one_batch(engine: Engine, keys: Any) -> None:
    """Also where the one that makes the run is looked at after the other, because of its key."""
    live = await engine.add_one(job_key="z")
    rows = await engine.sql(
        """SELECT * FROM add_batch('{t}', array_fill('{}'::jsonb, ARRAY[4]),
            idempotency_keys => '{i, i, j, i}', keys => $1)""",
        keys,
    )
    first, second, other, last = ((row["id"], row["outcome"]) for row in rows)
    assert first[1] == ("replaced" if keys and keys[0] == "z" else "added")
    assert second == last == (first[0], "existing")
    assert other == ((first[0], "replaced") if keys == ["k"] * 4 else (other[0], "added"))
    assert (first[0] == live) is bool(keys and keys[0] == "z")
    assert await remembered(engine) == [first[0], other[0]]


async def test_two_batches_with_the_same_idempotency_keys_in_opposite_order(
    engine: Engine, another: Another
) -> None:
    writers = [engine, await another(), await another()]
    add = """SELECT * FROM add_batch('{t}', array_fill('{}'::jsonb, ARRAY[20]),
        idempotency_keys => $1::text[], keys => $2::text[])"""

    async def write(writer: Engine, backwards: bool) -> None:
        for turn in range(10):
            keys = [f"{turn} {n}" for n in range(20)]
            await writer.sql(add, keys[::-1] if backwards else keys, keys)

    await asyncio.gather(*(write(w, n % 2 == 1) for n, w in enumerate(writers)))
    runs = await remembered(engine)
    assert len(runs) == len(set(runs)) == 200
    assert {row["id"] for row in await engine.claim()} == set(runs)


@pytest.mark.parametrize("mode", MODES)
async def test_an_idempotency_key_and_a_key(engine: Engine, mode: str) -> None:
    waiting = await engine.add_one(job_key="k")
    assert await once(engine, n=2, job_key="k", job_key_mode=mode) == waiting
    assert await remembered(engine) == [waiting]
    await engine.run_once()
    assert await once(engine, n=3, job_key="k", job_key_mode=mode) == waiting
    new = await once(engine, "j", n=4, job_key="k", job_key_mode=mode)
    assert new != waiting
    assert await remembered(engine) == [waiting, new]


async def test_an_idempotency_key_and_an_id(engine: Engine) -> None:
    (row,) = await engine.sql("SELECT new_id() AS id")
    add = "SELECT * FROM add_batch('{t}', '{\"{}\"}', ids => ARRAY[$1::uuid], idempotency_keys => '{i}')"
    for brought, outcome in ((row["id"], "added"), (row["id"], "existing"), (None, "existing")):
        (found,) = await engine.sql(add, brought)
        assert (found["id"], found["outcome"]) == (row["id"], outcome)
    assert await remembered(engine) == [row["id"]]


async def test_an_idempotency_key_whose_run_is_retried_or_replaced_later(engine: Engine) -> None:
    run = await once(engine, job_key="k")
    assert await engine.add_one(job_key="k", payload={"n": 2}) == run
    assert await once(engine) == run
    await engine.run_once("failed")
    await engine.value("retry_run", run)
    assert await once(engine) == run
    assert await engine.run_once() == [run]


async def test_idempotency_keys_whose_time_is_over(engine: Engine, dsn: str, db: asyncpg.Connection) -> None:
    old = [await once(engine, f"old {n}") for n in range(25)]
    await engine.sql(OVER)
    kept = await once(engine, "new")
    async with db.transaction():
        replaced = await once(engine, "old 0")  # locked: left to whoever replaces it
        async with Database(dsn) as database:
            assert await ExpiredKeys(database, lambda event: None, at_once=10).once() == 24
            assert await ExpiredKeys(database, lambda event: None).once() == 0
    assert replaced != old[0]
    assert await remembered(engine) == [kept, replaced]
