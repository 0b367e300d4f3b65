"""The scheduler in a worker: what is due is fired once, and what is broken harms nobody else."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from openqueue import Context, Task, task
from openqueue.app import open_worker
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.errors import InvalidTask
from openqueue.events import Event
from openqueue.scheduler.declared import DeclaredSchedules, declared_schedules
from openqueue.scheduler.events import (
    ScheduleFailed,
    ScheduleInvalid,
    SchedulesLoaded,
    TickFired,
    TickSkipped,
)
from openqueue.scheduler.scheduler import Scheduler
from openqueue.service import running
from openqueue.settings import load_settings
from openqueue.tasks.registry import Registry
from openqueue.tasks.tick import TICK, Tick
from tests.support.eventually import eventually
from tests.support.worker_here import WorkerHere, working

SECOND = timedelta(seconds=1)


def ticking(seen: list[Any], **options: Any) -> Task[..., Any]:
    async def tick(a: int = 0, *, ctx: Context = Context.injected) -> None:
        seen.append((a, ctx.tick, dict(ctx.meta)))

    declared: Task[..., Any] = task(name="every.second", **options)(tick)
    return declared


def fired(here: WorkerHere, key: str) -> list[TickFired]:
    return [one for one in here.heard(TickFired) if one.schedule == key]


@pytest.mark.parametrize(
    "count", [pytest.param(4, id="gate"), pytest.param(60, id="full", marks=pytest.mark.scale)]
)
async def test_a_declared_schedule_fires_and_its_task_sees_the_tick(
    dsn: str, db: asyncpg.Connection, count: int
) -> None:
    """T9: each second one tick, none left out, and no drift."""
    seen: list[tuple[int, Tick, dict[str, Any]]] = []
    one = ticking(seen, cron="* * * * * *", input={"a": 7}, meta={"of": "task"})
    async with working(dsn, one):
        await eventually(lambda: len(seen) >= count, timeout=count + 60, what="so many ticks")
    ticks = [tick for _, tick, _ in seen]
    assert all((a, meta) == (7, {"of": "task"}) for a, _, meta in seen)
    assert [tick.number for tick in ticks] == list(range(1, len(ticks) + 1))
    assert {tick.at.microsecond for tick in ticks} == {0}
    assert all(tick.previous == tick.at - SECOND for tick in ticks)
    assert {later.at - tick.at for tick, later in itertools.pairwise(ticks)} == {SECOND}
    row: Any = await db.fetchrow("SELECT * FROM openqueue.schedules")
    assert (row["key"], row["source"], row["fired"]) == ("every.second", "declarative", row["fired"])


async def test_schedules_are_added_edited_paused_and_removed_while_it_runs(
    dsn: str, db: asyncpg.Connection
) -> None:
    """T6."""
    seen: list[Any] = []
    async with working(dsn, ticking(seen)) as here:
        await here.wait_for(SchedulesLoaded)
        add = "SELECT openqueue.add_schedule('k', 'every.second', '{\"a\": 1}', every => '1 second')"
        await db.execute(add)
        await eventually(lambda: len(seen) >= 2, timeout=60, what="it fires")
        await db.execute("SELECT openqueue.update_schedule('k', '{\"payload\": {\"a\": 2}}')")
        await eventually(lambda: seen[-1][0] == 2, timeout=60, what="the new input")
        await db.execute("SELECT openqueue.pause_schedule('k')")
        count = await db.fetchval("SELECT count(*) FROM openqueue.schedule_ticks")
        await db.execute("SELECT openqueue.add_schedule('other', 'every.second', every => '1 second')")
        await eventually(lambda: len(fired(here, "other")) >= 2, timeout=60, what="another one fires")
        ticks = "SELECT count(*) FROM openqueue.schedule_ticks WHERE schedule = 'k'"
        assert await db.fetchval(ticks) == count, "it is paused"
        await db.execute("SELECT openqueue.resume_schedule('k')")
        await eventually(lambda: len(fired(here, "k")) > count, timeout=60, what="it goes on")
        await db.execute("SELECT openqueue.remove_schedule('k')")
        count = await db.fetchval(ticks)
        before = len(fired(here, "other"))
        await eventually(
            lambda: len(fired(here, "other")) >= before + 2, timeout=60, what="the other goes on"
        )
        assert await db.fetchval(ticks) == count, "it is gone"
    missed = await db.fetchval("SELECT count(*) FROM openqueue.schedule_ticks WHERE skipped = 'missed'")
    assert missed == 0, "paused, it has missed nothing"


async def test_what_cannot_be_computed_is_marked_and_harms_nobody(dsn: str, db: asyncpg.Connection) -> None:
    async with working(dsn, ticking([])) as here:
        await here.wait_for(SchedulesLoaded)
        await db.execute("SELECT openqueue.add_schedule('bad', 't', cron => '0 0 31 2 *')")
        await db.execute("SELECT openqueue.add_schedule('good', 't', every => '1 second')")
        told = await here.wait_for(ScheduleInvalid, timeout=60)
        await eventually(lambda: len(fired(here, "good")) >= 2, timeout=60)
        reason = await db.fetchval("SELECT invalid FROM openqueue.schedules WHERE key = 'bad'")
        assert told == ScheduleInvalid("bad", reason)
        assert len(here.heard(ScheduleInvalid)) == 1
        await db.execute("SELECT openqueue.update_schedule('bad', '{\"cron\": \"* * * * * *\"}')")
        await eventually(lambda: fired(here, "bad"), timeout=60, what="mended, it fires")


async def test_a_tick_that_cannot_be_enqueued_delays_no_other(dsn: str, db: asyncpg.Connection) -> None:
    async with working(dsn, ticking([])) as here:
        await here.wait_for(SchedulesLoaded)
        for key in ("a", "bad", "c"):
            await db.execute("SELECT openqueue.add_schedule($1, 't', cron => '* * * * * *')", key)
        await db.execute("UPDATE openqueue.schedules SET input = '[]' WHERE key = 'bad'")
        await eventually(
            lambda: all(len(fired(here, key)) >= 3 for key in ("a", "c")), timeout=60, what="both fire"
        )
        failed = await here.wait_for(ScheduleFailed, count=2, timeout=60)
        assert (failed.schedule, "input must be a JSON object" in failed.error) == ("bad", True)
        row: Any = await db.fetchrow("SELECT * FROM openqueue.schedules WHERE key = 'bad'")
        assert "input must be a JSON object" in row["last_error"]
        assert row["next_at"] is not None, "it goes on"
        assert fired(here, "bad") == []


async def test_a_waiting_tick_is_fired_when_the_run_before_it_ends(dsn: str, db: asyncpg.Connection) -> None:
    """T5, queue: with a slow run."""
    goes_on = asyncio.Event()
    began: list[Any] = []

    @task(name="slow")
    async def slow(*, ctx: Context = Context.injected) -> None:
        began.append(ctx.tick)
        await goes_on.wait()

    async with working(dsn, slow) as here:
        await here.wait_for(SchedulesLoaded)
        await db.execute(
            "SELECT openqueue.add_schedule('k', 'slow', every => '1 second', overlap => 'queue')"
        )
        await eventually(
            lambda: {one.reason for one in here.heard(TickSkipped)} == {"waiting", "overlap"},
            timeout=60,
            what="one waits, another is skipped",
        )
        assert len(began) == 1
        (waits,) = [one for one in here.heard(TickSkipped) if one.reason == "waiting"]
        await db.execute("SELECT openqueue.pause_schedule('k')")
        goes_on.set()
        await eventually(lambda: len(began) == 2, timeout=60, what="the one that waited runs")
        assert began[1].at == waits.at


async def test_ten_who_all_believe_to_lead_fire_each_tick_once(dsn: str, db: asyncpg.Connection) -> None:
    """T1, without an election: all that stands between them is the database."""
    for number in range(5):
        await db.execute("SELECT openqueue.add_schedule($1, 't', cron => '* * * * * *')", f"k{number}")
    told: list[Event] = []
    async with Database(dsn) as database:
        listener = Listener(dsn)
        every = [Scheduler(database, listener, "default", told.append) for _ in range(10)]
        async with running(listener, *every):
            await eventually(
                lambda: sum(isinstance(one, TickFired) for one in told) >= 15, timeout=60, what="ticks fire"
            )
    rows = await db.fetch("SELECT schedule, at, run_id FROM openqueue.schedule_ticks WHERE skipped IS NULL")
    assert await db.fetchval("SELECT count(*) FROM openqueue.runs") == len(rows)
    by_key: dict[str, list[Any]] = {}
    for row in rows:
        by_key.setdefault(row["schedule"], []).append(row["at"])
    assert len(by_key) == 5
    for times in by_key.values():
        times.sort()
        assert {later - one for one, later in itertools.pairwise(times)} <= {SECOND}


async def test_a_change_that_was_not_heard_is_found(dsn: str, db: asyncpg.Connection) -> None:
    told: list[Event] = []
    async with Database(dsn) as database:
        deaf = Listener(dsn)
        scheduler = Scheduler(database, deaf, "default", told.append, look_every=0.1)
        async with running(scheduler):
            await eventually(lambda: told, what="loaded")
            await db.execute("SELECT openqueue.add_schedule('k', 't', cron => '* * * * * *')")
            await eventually(lambda: any(isinstance(one, TickFired) for one in told), timeout=60)
            await db.execute("DELETE FROM openqueue.schedules")
            await eventually(lambda: not scheduler._table.entries, timeout=60, what="it is forgotten")


@pytest.mark.parametrize(
    "options",
    [
        {"cron": "0 0 31 2 *"},
        {"cron": "@daily", "timezone": "Mars/Olympus"},
        {"cron": "@daily", "input": {"a": "no number"}},
        {"cron": "@daily", "input": {"b": 1}},
    ],
)
async def test_a_declared_schedule_that_cannot_be_is_refused_before_the_worker_starts(
    dsn: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidTask, match=r"the schedule of task every\.second"):
        async with working(dsn, ticking([], **options)):
            pass


async def test_what_tasks_declare_is_published_before_a_worker_takes_in_work(
    dsn: str, db: asyncpg.Connection
) -> None:
    """One that drains may have nothing to do, and be gone at once."""
    registry = Registry([ticking([], cron="@daily")])
    async with open_worker(load_settings(database_url=dsn), registry=registry):
        assert await db.fetchval("SELECT key FROM openqueue.schedules") == "every.second"


async def test_a_key_that_a_function_makes_is_published_with_what_the_task_declares(
    dsn: str, db: asyncpg.Connection
) -> None:
    def declared(**options: Any) -> Registry:
        return Registry([ticking([], cron="@daily", input={"a": 7}, **options)])

    found = "SELECT concurrency_key FROM openqueue.schedules"
    async with open_worker(
        load_settings(database_url=dsn), registry=declared(concurrency_key=lambda a: f"a {a}")
    ):
        assert await db.fetchval(found) == "a 7"
    async with open_worker(load_settings(database_url=dsn), registry=declared(concurrency_key="all")):
        assert await db.fetchval(found) is None, "of a text the catalogue knows"
    with pytest.raises(InvalidTask, match=r"every\.second.*concurrency_key: the function .* KeyError"):
        declared_schedules(declared(concurrency_key=lambda a: {}[a]))


async def test_a_schedule_added_by_hand_is_not_taken_by_the_code(dsn: str, db: asyncpg.Connection) -> None:
    await db.execute("SELECT openqueue.add_schedule('every.second', 't', cron => '@yearly')")
    told: list[Event] = []
    async with Database(dsn) as database:
        declared = DeclaredSchedules(database, Registry([ticking([], cron="@daily")]), "default", told.append)
        assert await declared.once() == {"every.second": "taken"}
    assert [type(one).__name__ for one in told] == ["ScheduleTaken"]


def test_meta_that_only_looks_like_a_tick_is_left_as_it_is() -> None:
    assert Tick.of({"schedule": "k"}) is None
    assert Tick.of("k") is None
    assert TICK == "openqueue.tick"
