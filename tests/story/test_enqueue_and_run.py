"""From an enqueue in Python to its end, with a worker: what commits runs soon and once, nothing else does."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from openqueue import task
from openqueue.clients import open_client
from openqueue.errors import (
    InvalidArguments,
    InvalidOption,
    NotSerializable,
    OpenQueueError,
    TooLarge,
    UnknownTask,
)
from openqueue.runs.client import Client
from openqueue.settings import load_settings
from openqueue.worker.events import BellChanged, RunFinished
from openqueue.worker.producer import Producer
from tests.support.eventually import eventually
from tests.support.worker_here import WorkerHere, working

DEBOUNCE: Any = "debounce"
FOR_EVER = "1h"
"""A poll floor that no test waits for: what happens before it came by a bell, a timer or a sweep."""


@task(name="echo")
async def echo(value: int) -> int:
    return value


@task(name="slow")
async def slow(value: int) -> int:
    await asyncio.sleep(0.004)
    return value


@task(name="other")
async def other(value: int) -> int:
    return -value


@pytest.fixture
async def client(dsn: str) -> Any:
    async with open_client(load_settings(database_url=dsn)) as opened:
        yield opened


async def runs_of(db: asyncpg.Connection) -> int:
    return int(await db.fetchval("SELECT count(*) FROM openqueue.run_requests"))


async def ended(here: WorkerHere, count: int) -> list[RunFinished]:
    await eventually(lambda: len(here.heard(RunFinished)) >= count, what=f"{count} ends")
    return here.heard(RunFinished)


async def test_an_enqueue_on_the_callers_transaction_runs_after_its_commit_and_never_after_a_rollback(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    async with working(dsn, echo, poll_interval=FOR_EVER) as here:
        await here.wait_for(BellChanged)
        transaction = db.transaction()
        await transaction.start()
        gone = await client.enqueue(echo.item(1), connection=db)
        await transaction.rollback()
        async with db.transaction():
            runs = await client.enqueue_many([echo.item(n) for n in range(10)], connection=db)
            assert here.heard(RunFinished) == []
        assert [await run.result(timeout="60s") for run in runs] == list(range(10))
        assert gone.id not in {one.run_id for one in here.heard(RunFinished)}
    assert await runs_of(db) == 10


async def test_a_batch_answers_for_each_item(client: Client) -> None:
    items = [
        echo.item(1),
        echo.options(key="k", meta={"n": 1}).item(2),
        other.options(key="k").item(3),
        echo.options(key="k").item(4),
        echo.options(key="k", key_mode="skip").item(5),
    ]
    runs = await client.enqueue_many(items)
    assert [run.outcome for run in runs] == ["added", "added", "added", "replaced", "existing"]
    assert runs[1].id == runs[3].id == runs[4].id
    assert (await runs[1].info()).input == {"value": 4}
    assert await client.enqueue_many([]) == []


async def test_a_delayed_job_starts_at_its_time_with_no_other_traffic(dsn: str, client: Client) -> None:
    async with working(dsn, echo, poll_interval=FOR_EVER) as here:
        await here.wait_for(BellChanged)
        runs = [await client.enqueue(echo.options(delay=delay).item(1)) for delay in (1.0, 0.3)]
        for run in reversed(runs):
            assert await run.result(timeout="60s") == 1
            info = await run.info()
            assert info.started_at is not None
            assert timedelta(0) <= info.started_at - info.run_at < timedelta(minutes=30)


async def test_a_job_enqueued_while_a_claim_is_under_way_is_not_missed(dsn: str, client: Client) -> None:
    """No poll floor stands behind: one lost wake-up, and the run would never end."""
    async with working(dsn, echo, poll_interval=FOR_EVER) as here:
        await here.wait_for(BellChanged)
        async with asyncio.timeout(60):
            for n in range(80):
                first = await client.enqueue(echo.item(n))
                for _ in range(n % 7):
                    await asyncio.sleep(0)
                second = await client.enqueue(echo.item(n))
                assert (await first.result(), await second.result()) == (n, n)


async def test_concurrent_writers_lose_nothing_whether_the_bell_is_on_or_off(
    dsn: str, client: Client
) -> None:
    async with working(dsn, echo, poll_interval=FOR_EVER) as here, AsyncExitStack() as stack:
        writers = [
            await stack.enter_async_context(open_client(load_settings(database_url=dsn))) for _ in range(4)
        ]

        async def write(writer: Client) -> None:
            for n in range(60):
                await writer.enqueue(echo.item(n))

        await asyncio.gather(*map(write, writers))
        assert len(await ended(here, 240)) == 240


@pytest.mark.parametrize("newer", [0, 3])
async def test_an_enqueue_that_was_open_before_the_worker_came_is_found_after_its_commit(
    dsn: str, db: asyncpg.Connection, client: Client, monkeypatch: pytest.MonkeyPatch, newer: int
) -> None:
    """It rang no bell; the looks after the bell went on came too early; the cursor may stand beyond it."""
    looks = Counter[str]()
    once = Producer.once
    monkeypatch.setattr(Producer, "once", lambda *given: (looks.update(["claim"]), once(*given))[1])
    transaction = db.transaction()
    await transaction.start()
    late = await client.enqueue(echo.item(7), connection=db)
    async with working(dsn, echo, poll_interval="300ms") as here:
        await here.wait_for(BellChanged)
        for run in [await client.enqueue(echo.item(n)) for n in range(newer)]:
            await run.result(timeout="60s")
        looks.clear()
        await eventually(lambda: looks["claim"] > 8, what="eight looks in vain")
        await transaction.commit()
        assert await late.result(timeout="60s") == 7


async def test_an_enqueue_that_commits_late_under_backlog_is_picked_up_before_the_backlog_ends(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    transaction = db.transaction()
    await transaction.start()
    late = await client.enqueue(slow.item(-1), connection=db)
    backlog = 4000
    await client.enqueue_many([slow.item(n) for n in range(backlog)])
    async with working(dsn, slow, concurrency=4) as here:
        await ended(here, 200)
        await transaction.commit()
        assert await late.result(timeout="60s") == -1
        assert len(here.heard(RunFinished)) < backlog


async def test_jobs_of_an_unknown_task_wait_for_a_worker_that_knows_them_and_slow_nobody_down(
    dsn: str, client: Client
) -> None:
    unknown = await client.enqueue_many([other.item(n) for n in range(2000)])
    async with working(dsn, echo) as here:
        known = await client.enqueue_many([echo.item(n) for n in range(50)])
        for n, run in enumerate(known):
            assert await run.result(timeout="60s") == n
        assert {one.task for one in here.heard(RunFinished)} == {"echo"}
        assert await unknown[0].status() == "queued"
        async with working(dsn, other) as second:
            await ended(second, 2000)
            assert await unknown[-1].result(timeout="60s") == -1999


@pytest.mark.parametrize(
    "jobs", [pytest.param(1000, id="gate"), pytest.param(50_000, id="full", marks=pytest.mark.scale)]
)
@pytest.mark.timeout(600)
async def test_eight_workers_run_each_job_once(
    dsn: str, client: Client, db: asyncpg.Connection, jobs: int
) -> None:
    runs: list[Any] = []
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(working(dsn, echo, concurrency=10, pool_size=2))
        ran: Counter[Any] = Counter()
        for part in range(5):
            runs += await client.enqueue_many([echo.item(n) for n in range(part, jobs, 5)])
        left = "SELECT NOT EXISTS (SELECT FROM openqueue.jobs)"
        await eventually(lambda: db.fetchval(left), timeout=300, what="no job is left")
    ran.update(row["run_id"] for row in await db.fetch("SELECT run_id FROM openqueue.attempts"))
    assert ran == Counter(run.id for run in runs)
    assert await db.fetchval("SELECT count(*) FROM openqueue.claims") == 0


@pytest.mark.parametrize(
    ("error", "named", "make"),
    [
        (InvalidArguments, "value", lambda: echo.item("x")),  # type: ignore[arg-type]
        (InvalidArguments, "other", lambda: echo.item(1, other=2)),  # type: ignore[call-arg]
        (InvalidArguments, "value", echo.item),
        (InvalidOption, "delay", lambda: echo.options(delay=-1).item(1)),
        (InvalidOption, "priority", lambda: echo.options(priority=40_000).item(1)),
        (InvalidOption, "key_mode", lambda: echo.options(key="k", key_mode=DEBOUNCE).item(1)),
        (
            InvalidOption,
            "run_at",
            lambda: echo.options(
                run_at=datetime(2030, 1, 1)  # noqa: DTZ001
            ).item(1),
        ),
    ],
)
async def test_what_is_wrong_with_an_item_is_named_before_anything_is_sent(
    error: Any, named: str, make: Any
) -> None:
    with pytest.raises(error, match=named):
        make()


@pytest.mark.parametrize(
    ("error", "named", "payload", "options"),
    [
        (UnknownTask, "ech", {}, {"task": "ech"}),
        (NotSerializable, "NUL", {"a": "\0"}, {}),
        (NotSerializable, r"a\[1\]", {"a": [1, float("nan")]}, {}),
        (NotSerializable, "b", {"b": object()}, {}),
        (InvalidArguments, "input", [1], {}),
        (TooLarge, "input", {"a": "x" * 2 * 1024 * 1024}, {}),
        (InvalidOption, "delay", {}, {"delay": "-1s"}),
        (InvalidOption, "queue", {}, {"queue": ""}),
        (InvalidOption, "deadline", {}, {"deadline": timedelta(seconds=-1)}),
        (InvalidOption, "key", {}, {"key": "k" * 501}),
        (OpenQueueError, "run_at", {}, {"run_at": datetime.max.replace(tzinfo=UTC)}),
    ],
)
async def test_bad_input_is_refused_with_the_field_named_and_nothing_is_stored(
    client: Client, db: asyncpg.Connection, error: Any, named: str, payload: Any, options: dict[str, Any]
) -> None:
    await db.execute("SELECT openqueue.publish_tasks('default', 'p', $1)", PUBLISHED)
    name = options.pop("task", "echo")
    with pytest.raises(error, match=named):
        await client.enqueue(name, payload, **options)
    assert await runs_of(db) == 0


PUBLISHED = '[{"task": "echo", "queue": "default", "priority": 0, "max_attempts": 25}]'
