"""Many that wait for results on one client share its looks, and leave its connections to others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from openqueue import task
from openqueue.clients import open_client
from openqueue.errors import ConnectionFailed, RunNotFound
from openqueue.runs.client import Client
from openqueue.settings import load_settings
from tests.support.eventually import eventually
from tests.support.worker_here import working

MANY = 500
NOBODY = UUID("01890000-0000-7000-8000-000000000000")


class Gate:
    opened = asyncio.Event()


@task(name="held")
async def held(value: int) -> int:
    await Gate.opened.wait()
    return value


@task(name="quick")
async def quick(value: int) -> int:
    return value


@pytest.fixture(autouse=True)
def _closed_gate() -> None:
    Gate.opened = asyncio.Event()


@asynccontextmanager
async def counted(dsn: str) -> AsyncIterator[tuple[Client, Counter[str]]]:
    """A client with a pool of two, and how often it has sent each statement."""
    async with open_client(load_settings(database_url=dsn, pool_size=2)) as client:
        sent: Counter[str] = Counter()
        call = client.database._call

        async def counting(method: str, statement: str, *rest: Any) -> Any:
            sent[statement] += 1
            return await call(method, statement, *rest)

        client.database._call = counting  # type: ignore[method-assign,assignment]
        yield client, sent


async def test_five_hundred_results_take_few_statements_and_enqueues_go_on(
    dsn: str, db: asyncpg.Connection
) -> None:
    async with counted(dsn) as (client, sent), working(dsn, held, quick, concurrency=MANY + 10):
        runs = await client.enqueue_many(held.item(number) for number in range(MANY))
        began = time.monotonic()
        waiting = [asyncio.create_task(run.result(timeout="60s")) for run in runs]
        marked = "SELECT count(*) = 500 FROM openqueue.jobs WHERE awaited"
        await eventually(lambda: db.fetchval(marked), what="all are waited for")
        for number in range(20):
            assert await (await client.enqueue(quick.item(number))).result(timeout="60s") == number
        listening = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'openqueue client listener'"
        )
        assert await db.fetchval(listening) == 1
        Gate.opened.set()
        assert await asyncio.gather(*waiting) == list(range(MANY))
        rounds = 5 + (time.monotonic() - began) / 0.25  # looks are further apart than that
        assert sent["await_runs"] <= 40 + MANY / 100 * rounds + MANY / 5, sent
        assert sum(sent.values()) - sent["await_runs"] <= 30, sent


async def test_several_may_wait_for_one_run_and_leave(dsn: str) -> None:
    async with counted(dsn) as (client, _), working(dsn, held):
        run = await client.enqueue(held.item(1))
        with pytest.raises(TimeoutError, match=r"has not ended within 0\.05 s; it goes on"):
            await run.result(timeout="50ms")
        several = [asyncio.create_task(run.result()) for _ in range(3)]
        left = asyncio.create_task(run.result())
        await asyncio.sleep(0)
        left.cancel()
        Gate.opened.set()
        assert await asyncio.gather(*several) == [1, 1, 1]
        assert client._waiting._waiters == {}


async def test_without_time_to_wait_the_result_of_an_ended_run_is_there(dsn: str) -> None:
    async with counted(dsn) as (client, _), working(dsn, held, quick):
        run = await client.enqueue(quick.item(7))
        assert await run.result(timeout="60s") == 7
        assert await run.result(timeout=0) == 7
        with pytest.raises(TimeoutError, match="has not ended within 0 s"):
            await (await client.enqueue(held.item(1))).result(timeout=0)
        for timeout in (0, "5s"):
            with pytest.raises(RunNotFound):
                await client.result(NOBODY, timeout)
        Gate.opened.set()


async def test_a_run_that_somebody_has_locked_holds_up_nobody_elses_result(
    dsn: str, db: asyncpg.Connection
) -> None:
    async with counted(dsn) as (client, _), working(dsn, held, quick) as here:
        locked, other = await client.enqueue(held.item(1)), await client.enqueue(held.item(2))
        await eventually(lambda: here.worker.pulse.running() == 2, what="both run")
        async with db.transaction():
            await db.fetch("SELECT FROM openqueue.jobs WHERE id = $1 FOR UPDATE", locked.id)
            first, second = (asyncio.create_task(run.result(timeout="60s")) for run in (locked, other))
            Gate.opened.set()
            assert await second == 2
            assert not first.done()
        assert await first == 1


async def test_who_waits_when_the_client_is_closed_is_told(dsn: str) -> None:
    async with counted(dsn) as (client, _):
        waiting = asyncio.create_task((await client.enqueue(held.item(1))).result())
        await eventually(lambda: client._waiting._waiters, what="it waits")
        await client.close()
        with pytest.raises(ConnectionFailed, match="closed"):
            await waiting


async def test_when_the_database_is_away_each_is_told(dsn: str) -> None:
    async with counted(dsn) as (client, _):
        runs = await client.enqueue_many(held.item(number) for number in range(3))
        waiting = [asyncio.create_task(run.result()) for run in runs]
        await eventually(lambda: len(client._waiting._waiters) == 3, what="they wait")
        await client.database.close()
        for one in waiting:
            with pytest.raises(ConnectionFailed):
                await one
