"""Somebody has a job locked while its attempt ends: the others are stored, and it is once it is free."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from openqueue import Context, task
from openqueue.clients import open_client
from openqueue.runs.client import Client
from openqueue.settings import load_settings
from openqueue.worker.events import OutcomeUnsaved, RunFinished, WorkerDraining
from openqueue.worker.worker import Worker
from tests.support.eventually import eventually
from tests.support.worker_here import WorkerHere, working

LOCK = "SELECT FROM openqueue.jobs WHERE id = $1 FOR UPDATE"


@pytest.fixture
async def client(dsn: str) -> Any:
    async with open_client(load_settings(database_url=dsn)) as opened:
        yield opened


@task(name="quick")
async def quick(value: int) -> int:
    return value


class Held:
    """A task that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

        @task(name="held")
        async def held(ctx: Context) -> str:
            self.begun.set()
            await self.go_on.wait()
            ctx.log.info("done")
            return "held"

        self.task = held


async def finished(here: WorkerHere, run: UUID) -> bool:
    return any(event.run_id == run for event in here.heard(RunFinished))


async def test_outcomes_do_not_wait_for_a_job_that_is_locked_and_none_is_lost_or_stored_twice(
    dsn: str, client: Client, db: asyncpg.Connection
) -> None:
    one = Held()
    async with working(dsn, one.task, quick) as here:
        run = await client.enqueue(one.task.item())
        await one.begun.wait()
        async with db.transaction():
            await db.execute(LOCK, run.id)
            one.go_on.set()
            runs = await client.enqueue_many(quick.item(n) for n in range(300))
            assert [await run.result(timeout=60) for run in runs] == list(range(300))
            await eventually(lambda: len(here.worker._completer._busy), what="busy")
            assert await run.status() == "running"
            assert not await finished(here, run.id)
        assert await run.result(timeout=60) == "held"
        await eventually(lambda: not here.worker._completer.claims(), what="no claim is in flight")
        assert len([event for event in here.heard(RunFinished) if event.run_id == run.id]) == 1
    assert [event.event for event in await run.events()] == ["enqueued", "started", "log", "completed"]
    assert await db.fetchval("SELECT count(*) FROM openqueue.claims") == 0


async def test_a_cancel_that_commits_while_the_attempt_ends_finds_it_completed(
    dsn: str, client: Client, db: asyncpg.Connection
) -> None:
    one = Held()
    async with working(dsn, one.task) as here:
        run = await client.enqueue(one.task.item())
        await one.begun.wait()
        async with db.transaction():
            assert await db.fetchval("SELECT openqueue.cancel_run($1)", run.id) == "cancelling"
            one.go_on.set()
            await eventually(lambda: len(here.worker._completer._busy), what="busy")
        assert await run.result(timeout=60) == "held"
    assert await db.fetchval("SELECT count(*) FROM openqueue.cancels") == 0


async def test_a_worker_that_stops_waits_for_the_lock_as_long_as_for_any_last_outcome(
    dsn: str, client: Client, db: asyncpg.Connection
) -> None:
    one = Held()
    async with working(dsn, one.task) as here:
        run = await client.enqueue(one.task.item())
        await one.begun.wait()
        async with db.transaction():
            await db.execute(LOCK, run.id)
            one.go_on.set()
            await eventually(lambda: len(here.worker._completer._busy), what="busy")
            stopping = asyncio.create_task(here.stopped())
            await here.wait_for(WorkerDraining)
        await stopping
        assert here.heard(OutcomeUnsaved) == []
    assert await run.status() == "completed"


async def test_what_is_still_locked_when_the_worker_has_to_end_is_told_in_full(
    dsn: str, client: Client, db: asyncpg.Connection
) -> None:
    def prepare(worker: Worker) -> None:
        worker._completer._last_flush = 0.2

    one = Held()
    async with working(dsn, one.task, prepare=prepare) as here:
        run = await client.enqueue(one.task.item())
        await one.begun.wait()
        async with db.transaction():
            await db.execute(LOCK, run.id)
            one.go_on.set()
            await eventually(lambda: len(here.worker._completer._busy), what="busy")
            here.stop.set()
            unsaved = await here.wait_for(OutcomeUnsaved)
            assert (unsaved.run_id, unsaved.outcome, unsaved.output) == (run.id, "completed", '"held"')
    assert await run.status() == "queued"
