"""Answers, sessions and servers go away; nothing is lost by it, and nothing is done twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import openqueue
from openqueue import Client, Context, task
from openqueue.db.events import ListenerConnected
from openqueue.db.migrations import migrate
from openqueue.runs.outcomes import Outcome
from openqueue.worker.events import (
    LeaseWasLost,
    OutcomeUnsaved,
    RunFinished,
    RunStarted,
    ServiceStumbled,
)
from tests.support import crash_tasks
from tests.support.eventually import PATIENCE, eventually
from tests.support.own_server import OwnServer
from tests.support.worker_here import Forgetful, working
from tests.support.worker_process import WorkerProcess

LONG_BEFORE_A_POLL = "2m"
NOBODY = "00000000-0000-0000-0000-000000000000"


@task(name="quick", backoff="10ms")
async def quick(number: int) -> int:
    return number


@task(name="pause", backoff="10ms")
async def pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def outcomes(client: Client, run: Any) -> list[str]:
    return [one.outcome for one in await client.attempts(run.id)]


async def test_K10_a_finish_whose_answer_is_lost_is_repeated_and_known_as_stored(
    dsn: str, client: Client
) -> None:
    @task(name="mixed", max_attempts=2, backoff="10ms")
    async def mixed(number: int, *, ctx: Context = Context.injected) -> int:
        if number % 3 == 1:
            raise ValueError("always")
        if number % 3 == 2 and ctx.attempt == 1:
            raise ValueError("once")
        return number

    def forget(worker: Any) -> None:
        worker._completer._database = Forgetful(worker._database, "finish_jobs", times=3)

    async with working(dsn, mixed, prepare=forget) as here:
        runs = [await mixed.enqueue(number) for number in range(30)]
        for number, run in enumerate(runs):
            await eventually(partial(client_finished, client, run))
            wanted = {0: ["completed"], 1: ["failed", "failed"], 2: ["failed", "completed"]}[number % 3]
            assert await outcomes(client, run) == wanted
        await eventually(lambda: not here.worker._completer.claims())
        assert here.worker._completer._database.left == 0  # type: ignore[attr-defined]
        assert not here.heard(LeaseWasLost)
        assert len(here.heard(RunStarted)) == 50


async def client_finished(client: Client, run: Any) -> bool:
    return (await client.get(run.id)).finished


@pytest.mark.parametrize("before", [0, 2], ids=["the first claim", "one that the bell has named"])
async def test_K10_a_claim_whose_answer_is_lost_strands_no_job_while_its_worker_lives(
    dsn: str, db: asyncpg.Connection, client: Client, before: int
) -> None:
    forgetful: list[Forgetful] = []

    def forget(worker: Any) -> None:
        for producer in worker._producers:
            producer._database = Forgetful(worker._database, "claim", times=0)
            forgetful.append(producer._database)

    settings = {"heartbeat": "300ms", "statement_timeout": "5s"}
    async with working(dsn, quick, prepare=forget, **settings) as here:
        for number in range(before):
            await (await quick.enqueue(number)).result("60s")
        for database in forgetful:
            database.left = 1
        run = await quick.enqueue(7)
        await here.wait_for(ServiceStumbled)
        held = "SELECT worker <> $1::uuid FROM openqueue.jobs"
        assert await db.fetchval(held, NOBODY) is True
        assert await run.result("60s") == 7
        assert await outcomes(client, run) == ["released", "completed"]
        assert (await run.info()).attempt == 1
    assert await db.fetchval("SELECT count(*) FROM openqueue.claims") == 0


async def test_jobs_given_back_by_a_call_whose_answer_is_lost_do_not_run_here_as_well(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    def forget(worker: Any) -> None:
        for producer in worker._producers:
            producer._database = Forgetful(worker._database, "put_back", times=1)

    async with working(dsn, pause, prepare=forget, concurrency=2) as here:
        await client.enqueue_many([pause.item(0.0) for _ in range(3000)])
        slow = await client.enqueue_many([pause.item(1.5) for _ in range(8)])
        left = "SELECT count(*) = 0 FROM openqueue.jobs"
        await eventually(lambda: db.fetchval(left), every=0.05)
        for run in slow:
            assert (await outcomes(client, run))[-1] == "completed"
            assert (await run.info()).attempt == 1

        def finished() -> list[UUID]:
            return [one.run_id for one in here.heard(RunFinished) if one.outcome == "completed"]

        await eventually(lambda: len(finished()) >= 3008)  # told just after it was stored
        assert len(finished()) == len(set(finished())) == 3008


async def test_K8_after_the_listening_session_was_ended_the_next_job_starts_at_once(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'openqueue listener' AND datname = current_database()"
    )
    async with working(dsn, quick, poll_interval="1h") as here:
        for turn in range(3):
            assert await db.fetchval(end) == 1
            await here.wait_for(ListenerConnected, count=turn + 2)
            assert await (await quick.enqueue(turn)).result(LONG_BEFORE_A_POLL) == turn
        # Also what is enqueued while nobody listens.
        await db.fetchval(end)
        assert await (await quick.enqueue(9)).result(LONG_BEFORE_A_POLL) == 9


async def test_K6_a_server_that_is_restarted_and_killed_loses_no_run_and_gets_its_worker_back(
    own_server: OwnServer,
) -> None:
    dsn = own_server.dsn()
    await migrate(dsn)
    async with WorkerProcess(dsn, heartbeat="500ms") as worker:
        runs = []
        await worker.started()
        for turn, harm in enumerate((own_server.restart, own_server.kill)):
            async with openqueue.connect(dsn) as client:
                runs += await client.enqueue_many(
                    [crash_tasks.quick.item(turn * 300 + n) for n in range(300)]
                )
                runs += [await crash_tasks.sleep.enqueue(0.5)]
            await worker.wait_for("mark", what="ran", count=turn * 300 + 20)
            await asyncio.to_thread(harm)
            if harm == own_server.kill:
                await asyncio.to_thread(own_server.start)
        async with openqueue.connect(dsn) as client:
            for run in runs:
                await eventually(partial(client_finished, client, run))
                assert (await client.get(run.id)).status == "completed"
                assert (await client.get(run.id)).attempt == 1
        assert await worker.stop() == 0
        assert not worker.heard("OutcomeUnsaved")


async def test_a_queue_has_its_bound_in_the_whole_process_and_is_not_slowed_by_it(
    dsn: str, client: Client
) -> None:
    lock, now, most, ran = threading.Lock(), 0, 0, 0

    def count(change: int) -> None:
        nonlocal now, most, ran
        with lock:
            now += change
            most = max(most, now)
            ran += change < 0

    @task(name="bounded", queue="a")
    async def bounded() -> None:
        count(1)
        await asyncio.sleep(0.01)
        count(-1)

    @task(name="bounded_thread", queue="a")
    def bounded_thread() -> None:
        count(1)
        time.sleep(0.01)
        count(-1)

    @task(name="free", queue="b")
    async def free() -> None:
        await asyncio.sleep(0.01)

    async with working(dsn, bounded, bounded_thread, free, queues={"a": 2, "b": None}):
        items = [(bounded if number % 2 else bounded_thread).item() for number in range(60)]
        runs = await client.enqueue_many([*items, *(free.item() for _ in range(20))])
        await asyncio.gather(*(run.result("60s") for run in runs))
        assert most == 2
        assert ran == 60


async def test_two_workers_of_one_name_are_two_workers(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    async with (
        working(dsn, pause, name="twin", concurrency=2),
        working(dsn, pause, name="twin", concurrency=2),
    ):
        assert await db.fetchval("SELECT count(*) FROM openqueue.workers WHERE name = 'twin'") == 2
        runs = [await pause.enqueue(0.3) for _ in range(4)]
        await asyncio.gather(*(run.result("60s") for run in runs))
        for run in runs:
            assert await outcomes(client, run) == ["completed"]


async def test_a_value_that_only_the_database_refuses_fails_its_run_and_no_other(
    dsn: str, client: Client
) -> None:
    def spoil(worker: Any) -> None:
        before = worker._completer.ended

        def ended(job: Any, outcome: Outcome) -> None:
            bad = outcome.output == "13"
            before(job, Outcome("completed", output='"\\u0000"') if bad else outcome)

        worker._completer.ended = ended

    async with working(dsn, quick, prepare=spoil) as here:
        runs = await client.enqueue_many([quick.item(number) for number in range(50)])
        for number, run in enumerate(runs):
            await eventually(partial(client_finished, client, run))
            assert (await run.info()).status == ("failed" if number == 13 else "completed")
        assert not here.heard(OutcomeUnsaved)
        assert not here.worker._completer.claims()


async def test_many_large_results_at_once_are_stored(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    gate = asyncio.Event()

    @task(name="large")
    async def large() -> str:
        await gate.wait()
        return "x" * 1_000_000

    async with working(dsn, large) as here:
        runs = await client.enqueue_many([large.item() for _ in range(40)])
        await eventually(lambda: len(here.heard(RunStarted)) == 40)
        gate.set()
        for run in runs:
            await eventually(partial(client_finished, client, run))
            assert await outcomes(client, run) == ["completed"]


async def test_a_beat_that_fails_for_any_reason_is_followed_by_the_next(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    failures = 3

    def count() -> int:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("dictionary changed size during iteration")
        return 0

    def harm(worker: Any) -> None:
        worker.pulse.running = count

    async with working(dsn, quick, prepare=harm, heartbeat="100ms") as here:
        await here.wait_for(ServiceStumbled)
        await eventually(lambda: here.worker.pulse.beaten and failures == 0)
        assert await (await quick.enqueue(1)).result("60s") == 1


async def test_a_part_that_dies_ends_the_worker_and_says_why(dsn: str, client: Client) -> None:
    for part in ("_completer", "_starter", "_rescuer", "_doorbell"):

        def harm(worker: Any, part: str = part) -> None:
            async def die(*_: object) -> None:
                raise TypeError(f"{part} is broken")

            getattr(worker, part).once = die

        with pytest.raises(TypeError, match=f"{part} is broken"):
            await _work_until_it_ends(dsn, harm)


async def _work_until_it_ends(dsn: str, harm: Callable[[Any], None]) -> None:
    async with working(dsn, quick, prepare=harm, grace="1s") as here:
        await quick.enqueue(1)
        await asyncio.wait([here.ending], timeout=PATIENCE)
        assert here.ending.done()
