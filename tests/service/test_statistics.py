"""What workers tell of themselves, and how it is shown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from openqueue import GiveUp, task
from openqueue.cluster.statistics import Statistics as AddingUp
from openqueue.errors import InvalidOption
from openqueue.runs.client import Client
from openqueue.runs.statistics import Period
from tests.engine.calls import Engine
from tests.support.command import Command
from tests.support.eventually import eventually
from tests.support.worker_here import working

began, may_end = asyncio.Event(), asyncio.Event()


@task(name="add", queue="sums")
async def add(a: int, b: int) -> int:
    return a + b


@task(name="fail", queue="sums")
async def fail() -> None:
    raise GiveUp("always")


@task(name="hold", queue="holding")
async def hold() -> None:
    began.set()
    await may_end.wait()


@pytest.fixture(autouse=True)
def events() -> None:
    global began, may_end
    began, may_end = asyncio.Event(), asyncio.Event()


async def ended(client: Client, name: str) -> Period:
    return next((one.recent for one in await client.stats.tasks() if one.task == name), Period(None, None))


async def test_what_ends_is_told_with_the_beats_and_at_the_end(dsn: str) -> None:
    async with working(dsn, add, fail, heartbeat="200ms", lease="60s") as here:
        client = here.worker.client
        for number in range(5):
            await client.enqueue(add.item(number, 1))
        await client.enqueue(fail.item())

        async def is_told() -> bool:
            return (await ended(client, "add")).completed == 5

        await eventually(is_told, every=0.2)
        found = await ended(client, "add")
        assert found.waited.p50 is not None
        assert found.per_minute > 0
        await (await client.enqueue(add.item(1, 1))).result()
        await here.stopped()
        (queue,) = (one for one in await client.stats.queues() if one.queue == "sums")
        assert (queue.recent.completed, queue.recent.failed) == (6, 1)


async def test_who_leads_adds_up_and_history_is_read(dsn: str, db: asyncpg.Connection) -> None:
    async with working(dsn, add) as here:
        client = here.worker.client
        await (await client.enqueue(add.item(1, 1))).result()
        await here.stopped()
        await db.execute("UPDATE openqueue.stats_deltas SET at = date_trunc('hour', at) - interval '1 hour'")
        assert await AddingUp(client.database, "default", here.told.append).once() == 1
        now = datetime.now(UTC)
        since = now - timedelta(days=2)
        for span in ("minute", "hour", "day"):
            (found,) = await client.stats.history(span, since, now, task="add")
            assert found.completed == 1
        assert await client.stats.history("hour", since, now, queue="another") == []
        with pytest.raises(InvalidOption, match="span: 'year'"):
            await client.stats.history("year", since, now)  # type: ignore[arg-type]
        with pytest.raises(InvalidOption, match="since"):
            await client.stats.history("day", datetime(2026, 1, 1), now)  # noqa: DTZ001
        with pytest.raises(InvalidOption, match="minutes"):
            await client.stats.queues(minutes=0)


async def test_a_worker_shows_what_it_runs_and_what_it_takes(dsn: str) -> None:
    async with working(dsn, hold, heartbeat="200ms", lease="60s") as here:
        client = here.worker.client
        run = await client.enqueue(hold.item())
        await began.wait()

        async def has_told() -> Any:
            (one,) = await client.stats.workers()
            return one.running == 1 and one.rss is not None and one

        found = await eventually(has_told, every=0.1)
        assert [(one.id, one.task, one.queue) for one in found.runs] == [(run.id, "hold", "holding")]
        assert found.state == "running"
        assert found.cpu >= 0
        (queue,) = (one for one in await client.stats.queues() if one.queue == "holding")
        assert (queue.running, queue.queued) == (1, 0)
        in_thread = await asyncio.to_thread(client.sync.stats.workers)
        assert [one.id for one in in_thread] == [found.id]
        may_end.set()
        await run.result()


async def test_who_does_not_beat_is_silent(dsn: str, db: asyncpg.Connection) -> None:
    async with working(dsn, add, lease="1h") as here:  # nobody is buried for that long
        await db.execute(
            "INSERT INTO openqueue.workers (id, namespace, name, host, pid, version, concurrency, beat_at,"
            " suspected_at) VALUES (gen_random_uuid(), 'default', 'gone', 'h', 1, '', 1,"
            " now() - interval '50 seconds', now() + interval '1 hour')"
        )
        states = {one.name: one.state for one in await here.worker.client.stats.workers()}
    assert states.pop("gone") == "silent"


def test_the_tables_show_it(oq: Command) -> None:
    oq.work()
    oq("enqueue", "post.send", '{"to": "a@b.c"}', "--allow-unknown")
    oq.work()
    (row,) = oq("queues", "--json").json
    assert (row["queue"], row["completed"], row["failed"]) == ("mail", 1, 0)
    assert row["ran_p50"] > 0
    assert "DONE/MIN" in oq("queues").out
    assert "1 completed, 0 failed, 0 tried again; waited " in oq("queues", "show", "mail").out
    tasks = {one["task"]: one for one in oq("tasks", "--json").json}
    assert (tasks["post.send"]["completed"], tasks["post.fail"]["completed"]) == (1, 0)
    assert "1 completed" in oq("tasks", "show", "post.send").out


async def test_a_long_queue_is_not_counted_to_its_end(oq: Command, dsn: str, db: asyncpg.Connection) -> None:
    engine = Engine(db)
    await engine.bulk(10_500, queue="long")
    answer = await asyncio.to_thread(oq.run, "queues")
    assert "10,000+" in answer.out
