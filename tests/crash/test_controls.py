"""Limits, rates, serial keys and turns with worker processes, one of which may be killed."""

from __future__ import annotations

import signal
from pathlib import Path

import asyncpg

from openqueue import Client
from tests.support import control_tasks as tasks
from tests.support.eventually import eventually
from tests.support.worker_process import WorkerProcess, workers

MODULES = ("tests.support.control_tasks",)

TAKEN = """
SELECT COALESCE(sum(s.used), 0) - COALESCE((SELECT sum(o.freed) FROM openqueue.openings o), 0)
FROM openqueue.slots s
"""


async def unfinished(db: asyncpg.Connection) -> int:
    found: int = await db.fetchval("SELECT count(*) FROM openqueue.jobs")
    return found


async def finished(db: asyncpg.Connection, task: str) -> int:
    found: int = await db.fetchval(
        "SELECT count(*) FROM openqueue.runs WHERE task = $1 AND status = 'completed'", task
    )
    return found


async def test_C3_a_limit_holds_over_two_workers_of_which_one_is_killed(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    await db.execute(tasks.TABLES)
    await client.enqueue_many(tasks.counted.item(0.02) for _ in range(60))
    async with workers(2, dsn, modules=MODULES, concurrency=20) as (victim, _):

        async def some() -> bool:
            return await finished(db, "control.counted") >= 15

        await eventually(some, timeout=60, what="some are done")
        victim.signal(signal.SIGKILL)

        async def all_done() -> bool:
            return await unfinished(db) == 0

        await eventually(all_done, timeout=120, what="all are done")
    assert await finished(db, "control.counted") == 60
    assert await db.fetchval("SELECT max(others) FROM beside") == tasks.SLOTS
    assert await db.fetchval(TAKEN) == 0


async def test_C4_a_full_key_keeps_nobody_else_waiting(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    held = await client.enqueue_many(tasks.held.item(str(path)) for _ in range(50))
    free = await client.enqueue_many(tasks.free.item() for _ in range(50))
    async with workers(2, dsn, modules=MODULES, concurrency=20):
        for run in free:
            await run.result(timeout="60s")
        statuses = [await run.status() for run in held]
        assert statuses.count("blocked") == 48
        path.touch()
        for run in held:
            await run.result(timeout="60s")
    assert await db.fetchval(TAKEN) == 0


async def test_C6_steps_of_a_customer_are_in_order_over_failures_and_a_killed_worker(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    await db.execute(tasks.TABLES)
    await client.enqueue_many(
        tasks.step.item(customer, number) for number in range(1, 11) for customer in ("ada", "bob", "eve")
    )
    async with workers(2, dsn, modules=MODULES) as (victim, _):

        async def some() -> bool:
            return await finished(db, "control.step") >= 6

        await eventually(some, timeout=60, what="some are done")
        victim.signal(signal.SIGKILL)

        async def all_done() -> bool:
            return await unfinished(db) == 0

        await eventually(all_done, timeout=120, what="all are done")
    for customer in ("ada", "bob", "eve"):
        rows = await db.fetch("SELECT step FROM steps WHERE customer = $1 ORDER BY n", customer)
        # One that was killed after it had noted its step notes it again, before the next.
        assert list(dict.fromkeys(row["step"] for row in rows)) == list(range(1, 11))
        assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


async def test_C7_a_rate_holds_over_two_workers_by_the_databases_clock(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    async with workers(2, dsn, modules=MODULES):
        runs = await client.enqueue_many(tasks.rated.item() for _ in range(41))
        for run in runs:
            await run.result(timeout="60s")
    row = await db.fetchrow(
        """SELECT extract(epoch FROM max(started_at) - min(created_at)), count(DISTINCT worker)
        FROM openqueue.runs WHERE task = 'control.rated'"""
    )
    took, by = row or (0, 0)
    print(f"\nC7: 41 at 20/s took {took} s, by {by} workers")
    assert took > 39 / 20  # the first one, and 40 that are 50 ms apart; the last may be counted with its bell


async def test_C10_a_small_group_behind_a_large_one_has_its_turn(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    await client.controls.fairness("turns", "round_robin")
    await client.enqueue_many(tasks.turn.options(group="large").item("large") for _ in range(2000))
    small = await client.enqueue_many(tasks.turn.options(group="small").item("small") for _ in range(10))
    async with WorkerProcess(dsn, modules=MODULES, concurrency=2) as worker:
        await worker.started()
        for run in small:
            await run.result(timeout="60s")
        begun = await db.fetchval(
            """SELECT count(*) FROM openqueue.runs WHERE task = 'control.turn' AND input ->> 'group' = 'large'
            AND started_at < (SELECT max(started_at) FROM openqueue.runs WHERE input ->> 'group' = 'small')"""
        )
    print(f"\nC10: {begun} of the large group began before the last of the small one")
    assert begun < 200


async def test_a_limit_that_is_raised_is_used_at_once_without_a_restart(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    await client.controls.limit(key="busy", concurrency=1)
    held = await client.enqueue_many(tasks.held.item(str(path)) for _ in range(6))

    async def running() -> int:
        return [await run.status() for run in held].count("running")

    async def reached(count: int) -> None:
        async def there() -> bool:
            return await running() == count

        await eventually(there, timeout=60, what=f"{count} run")

    async with workers(2, dsn, modules=MODULES):
        await reached(1)
        await client.controls.limit(key="busy", concurrency=5)
        await reached(5)
        path.touch()
        for run in held:
            await run.result(timeout="60s")
