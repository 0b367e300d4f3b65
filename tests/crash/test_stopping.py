"""To stop a worker costs no attempt, loses no result and ends in bounded time."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

import openqueue
from openqueue import Client
from openqueue.db.migrations import migrate
from tests.support import crash_tasks as tasks
from tests.support.eventually import eventually
from tests.support.own_server import OwnServer
from tests.support.worker_process import WorkerProcess, workers

LONG: Final = 3600
"""Seconds that no test waits for: what ends before was ended."""


async def outcomes(client: Client, run: openqueue.Run[Any]) -> list[str]:
    return [one.outcome for one in await client.attempts(run.id)]


async def nothing_is_left(db: asyncpg.Connection) -> bool:
    """No worker is registered, and none holds a job or a claim."""
    for table in ("claims", "workers", "bells"):
        assert await db.fetchval(f"SELECT count(*) FROM openqueue.{table}") == 0, table
    held = "SELECT count(*) FROM openqueue.jobs WHERE worker <> '00000000-0000-0000-0000-000000000000'"
    assert await db.fetchval(held) == 0
    return True


async def test_P1_what_ends_within_grace_is_stored_and_nothing_new_is_begun(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    async with WorkerProcess(dsn, grace="10m", concurrency=1) as worker:
        await worker.started()
        run = await tasks.until.enqueue(str(gate))
        await worker.wait_for("mark", what="begin")
        worker.signal(signal.SIGTERM)
        await worker.wait_for("WorkerDraining")
        late = await tasks.quick.enqueue(1)
        gate.touch()
        assert await worker.ended() == 0
    assert await outcomes(client, run) == ["completed"]
    assert (await late.info()).status == "queued"
    assert (await late.info()).attempt == 0
    assert await nothing_is_left(db)


async def test_P1_what_does_not_end_within_grace_is_cancelled_and_runs_elsewhere_as_the_same_attempt(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    async with WorkerProcess(dsn, name="old", grace="200ms", patient=True) as old:
        await old.started()
        runs = [await tasks.until.enqueue(str(gate)) for _ in range(5)]
        thread = await tasks.polite_thread.enqueue()
        long = await tasks.sleep.enqueue(LONG)
        await old.wait_for("mark", what="begin", count=7)
        assert await old.stop() == 0
        assert old.heard("mark", what="cancelled", run=str(long.id))
        assert old.heard("mark", what="told", told=True)
        assert await thread.result("60s") == "told"
        assert await outcomes(client, long) == ["released"]
        gate.touch()
        async with WorkerProcess(dsn, name="new") as new:
            for run in runs:
                assert await run.result("60s") == "done"
                assert await outcomes(client, run) == ["released", "completed"]
                assert (await run.info()).attempt == 1
            again = await new.wait_for("mark", what="begin", run=str(long.id))
            assert again["attempt"] == 1
            await client.cancel(long.id)
            assert await new.stop() == 0


@pytest.mark.parametrize(
    "task", [tasks.sleep, tasks.deaf_thread, tasks.block], ids=["async", "thread", "blocked loop"]
)
async def test_P2_a_second_signal_ends_the_process_within_two_seconds_and_releases_its_jobs(
    dsn: str, db: asyncpg.Connection, client: Client, task: openqueue.Task[..., str]
) -> None:
    async with WorkerProcess(dsn, grace="1h", patient=True) as worker:
        await worker.started()
        run = await task.enqueue(LONG)
        await worker.wait_for("mark", what="begin")
        worker.signal(signal.SIGTERM)
        if task is not tasks.block:
            await worker.wait_for("WorkerDraining")
        await eventually(worker.told_to_end, every=0.2)  # two signals at once are one
        assert await worker.ended() == 130
    assert await outcomes(client, run) == ["released"]
    assert (await run.info()).status == "queued"
    assert await nothing_is_left(db)


@pytest.mark.parametrize("what", ["stubborn", "deaf_thread"])
async def test_P3_a_task_that_does_not_end_holds_the_process_up_for_a_bounded_time_and_its_job_goes_back(
    dsn: str, db: asyncpg.Connection, client: Client, what: str
) -> None:
    async with WorkerProcess(dsn, grace="100ms") as worker:
        await worker.started()
        run = await (tasks.stubborn.enqueue() if what == "stubborn" else tasks.deaf_thread.enqueue(LONG))
        done = await tasks.quick.enqueue(1)
        assert await done.result("60s") == 1
        await worker.wait_for("mark", what="begin")
        assert await worker.stop() == 0
        assert worker.heard("ThreadAbandoned" if what == "deaf_thread" else "AttemptAbandoned")
        assert "never retrieved" not in worker.errors
    assert await outcomes(client, run) == ["released"]
    assert (await run.info()).status == "queued"
    assert await nothing_is_left(db)


async def test_P4_with_the_database_down_a_stop_ends_in_bounded_time_and_outcomes_are_told_in_full(
    own_server: OwnServer,
) -> None:
    dsn = own_server.dsn()
    await migrate(dsn)
    async with WorkerProcess(dsn, grace="200ms") as worker:
        async with openqueue.connect(dsn):
            await worker.started()
            ending = await tasks.large.enqueue(2, 3000)
            going_on = await tasks.sleep.enqueue(LONG)
            await worker.wait_for("mark", what="begin", count=2)
        own_server.stop("immediate")
        await worker.wait_for("mark", what="end", run=str(ending.id))
        assert await worker.stop() == 1
        told = {one["run_id"]: one for one in worker.heard("OutcomeUnsaved")}
        assert told[str(ending.id)]["output"] == '"' + "x" * 3000 + '"'
        assert told[str(going_on.id)]["outcome"] == "released"
    own_server.start()
    async with openqueue.connect(dsn) as client, WorkerProcess(dsn):
        await eventually(lambda: _done(client, ending))


async def _done(client: Client, run: openqueue.Run[str]) -> bool:
    return (await client.get(run.id)).status == "completed"


async def test_P5_beats_go_on_until_the_last_result_is_stored(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    settings: dict[str, Any] = {"heartbeat": "200ms", "lease": "4s"}
    async with WorkerProcess(dsn, name="heir", **settings) as heir, AsyncExitStack() as stack:
        worker = await stack.enter_async_context(
            WorkerProcess(dsn, name="old", queues="one", grace="10m", **settings)
        )
        await worker.started()
        await heir.started()
        run = await tasks.large.options(queue="one").enqueue(0.5, 10)
        runner = worker
        await eventually(lambda: worker.heard("mark", what="begin") or heir.heard("mark", what="begin"))
        runner, other = (worker, heir) if worker.heard("mark", what="begin") else (heir, worker)
        # Its result cannot be stored for two leases: the history is locked.
        async with db.transaction():
            await db.execute("LOCK TABLE openqueue.attempts IN ACCESS EXCLUSIVE MODE")
            runner.signal(signal.SIGTERM)
            await runner.wait_for("mark", what="end")
            first = await db.fetchval("SELECT beat_at FROM openqueue.workers WHERE pid = $1", runner.pid)
            async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
                beats = "SELECT beat_at > $2::timestamptz + '8 s' FROM openqueue.workers WHERE pid = $1"
                await eventually(lambda: pool.fetchval(beats, runner.pid, first), every=0.1)
                state = await pool.fetchval("SELECT state FROM openqueue.workers WHERE pid = $1", runner.pid)
                assert state == "draining"
            assert runner.alive
        assert await runner.ended() == 0
        assert await run.result("60s") == "x" * 10
        assert await outcomes(client, run) == ["completed"]
        assert not other.heard("RunRescued")


async def test_P6_a_rolling_restart_under_load_loses_nothing_runs_nothing_twice_and_counts_no_attempt(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    settings: dict[str, Any] = {"grace": "10s", "concurrency": 20, "threads": 4}
    total = 3000
    stop = asyncio.Event()

    async def load() -> None:
        number = 0
        while number < total:
            items = [
                (tasks.quick if one % 4 else tasks.quick_thread).item(one)
                for one in range(number, number + 100)
            ]
            await client.enqueue_many(items)
            number += 100
            await asyncio.sleep(0.02)
        stop.set()

    async with workers(4, dsn, **settings) as fleet, AsyncExitStack() as stack:
        everyone = list(fleet)
        async with asyncio.TaskGroup() as group:
            group.create_task(load())
            for old in fleet:
                new = await stack.enter_async_context(WorkerProcess(dsn, name=f"new-{old.pid}", **settings))
                everyone.append(new)
                await new.started()
                assert await old.stop() == 0
        left = "SELECT count(*) = 0 FROM openqueue.jobs"
        await eventually(lambda: db.fetchval(left), every=0.05)
        for worker in everyone[4:]:
            worker.signal(signal.SIGTERM)
        assert [await worker.ended() for worker in everyone[4:]] == [0, 0, 0, 0]
        ran = Counter(one["number"] for worker in everyone for one in worker.heard("mark", what="ran"))
        assert len(ran) == total
        assert max(ran.values()) == 1
        assert not [one for worker in everyone for one in worker.heard("LeaseWasLost")]
    rows = await db.fetch("SELECT outcome, counted, count(*) FROM openqueue.attempts GROUP BY 1, 2")
    assert [tuple(row) for row in rows] == [("completed", 1, total)]
    assert await nothing_is_left(db)


async def test_once_runs_what_is_ready_and_what_that_enqueues_then_ends(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    runs = [await tasks.relay.enqueue(depth) for depth in range(4)]
    failing = await tasks.fail_once.enqueue()
    later = await tasks.quick.options(delay="1h").enqueue(1)
    async with WorkerProcess(dsn, once=True) as worker:
        assert await worker.ended() == 0
    for run in runs:
        assert (await run.info()).status == "completed"
    assert (await failing.info()).status == "completed"
    assert (await later.info()).status == "scheduled"
    assert await db.fetchval("SELECT count(*) FROM openqueue.jobs") == 1
    assert await nothing_is_left(db)


async def test_once_is_stopped_by_a_signal_like_any_worker(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    run = await tasks.sleep.enqueue(LONG)
    async with WorkerProcess(dsn, once=True, grace="100ms") as worker:
        await worker.wait_for("mark", what="begin")
        assert await worker.stop() == 0
    assert await outcomes(client, run) == ["released"]
    assert await nothing_is_left(db)
