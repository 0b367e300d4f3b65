"""`client.schedules`: what an application does with schedules, on a real database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psycopg
import pytest

import openqueue
from openqueue import Client, InvalidArguments, InvalidOption, ScheduleNotFound, UnknownTask, task
from openqueue.runs.filter import RunFilter
from openqueue.scheduler.model import Backfilled
from openqueue.tasks.tick import Tick

HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def oq(dsn: str, db: asyncpg.Connection) -> AsyncIterator[Client]:
    async with openqueue.connect(dsn) as client:
        yield client


async def test_a_schedule_is_added_read_and_edited(oq: Client) -> None:
    made = await oq.schedules.add(
        "nightly",
        "reports.nightly",
        {"day": "yesterday"},
        allow_unknown=True,
        cron="0 2  * * *",
        timezone="Europe/Berlin",
        start_at="2026-01-01T00:00:00+01:00",
        end_at=datetime(2150, 1, 1, tzinfo=UTC),
        max_runs=7,
        catch_up=1,
        overlap="skip",
        jitter="30s",
        queue="slow",
        priority=-5,
        max_attempts=3,
        deadline="2h",
        meta={"tenant": 42},
        tags=["a", "b"],
    )
    assert (made.key, made.outcome) == ("nightly", "added")
    info = await made.info()
    assert (info.task, info.input) == ("reports.nightly", {"day": "yesterday"})
    assert (info.cron, info.timezone, info.meaning) == ("0 2 * * *", "Europe/Berlin", "at 02:00 every day")
    assert (info.max_runs, info.catch_up, info.overlap) == (7, 1, "skip")
    assert (info.jitter, info.deadline) == (timedelta(seconds=30), timedelta(hours=2))
    assert (info.queue, info.priority, info.max_attempts) == ("slow", -5, 3)
    assert (info.meta, info.tags) == ({"tenant": 42}, ("a", "b"))
    assert info.start_at == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert (info.status, info.source, info.fired) == ("active", "dynamic", 0)
    assert info.next_at is not None
    assert list(await oq.schedules.list()) == [info]

    assert (await oq.schedules.update("nightly", every="90s", max_runs=None)).outcome == "updated"
    info = await made.info()
    assert (info.cron, info.every, info.max_runs, info.catch_up) == (None, timedelta(seconds=90), None, 1)
    assert (await oq.schedules.update("nightly", every=90)).outcome == "unchanged"
    assert await oq.schedules.remove("nightly") is True
    assert await oq.schedules.remove("nightly") is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "cron: missing"),
        ({"cron": "@daily", "every": "5m"}, "every: given together with cron"),
        ({"cron": "0 0 31 2 *"}, "never fires"),
        ({"cron": "@daily", "timezone": "Europe/Berln"}, "Did you mean 'Europe/Berlin'"),
        ({"cron": "@daily", "start_at": datetime(2026, 1, 1)}, "start_at: "),  # noqa: DTZ001
        ({"cron": "@daily", "overlap": "never"}, "overlap: 'never' must be"),
        ({"cron": "@daily", "catch_up": -1}, "catch_up: -1 is out of range"),
        ({"cron": "@daily", "max_runs": 0}, "max_runs: 0 is out of range"),
        ({"cron": "@daily", "quue": "x"}, "quue"),
        ({"every": "0.5s"}, "every: 500ms is out of range"),
    ],
)
async def test_what_cannot_be_is_refused_when_it_is_said(
    oq: Client, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidOption, match=re.escape(said)):
        await oq.schedules.add("k", "a.b", allow_unknown=True, **options)
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")
    before = await oq.schedules.get("k")
    with pytest.raises(InvalidOption):
        await oq.schedules.update("k", **options)
    assert await oq.schedules.get("k") == before


async def test_a_task_that_nobody_has_and_arguments_that_it_refuses_are_refused(
    oq: Client, db: asyncpg.Connection
) -> None:
    with pytest.raises(UnknownTask):
        await oq.schedules.add("k", "reports.nightly", cron="@daily")

    @task(name="reports.nightly")
    async def nightly(day: str) -> None:
        """Never called."""

    with pytest.raises(InvalidArguments, match="day"):
        await oq.schedules.add("k", nightly, {"dya": "x"}, cron="@daily")
    with pytest.raises(InvalidArguments, match="day"):
        await oq.schedules.add("k", nightly, cron="@daily")
    assert await oq.schedules.list() == []
    made = await oq.schedules.add("k", nightly, {"day": "x"}, cron="@daily")
    assert (await made.info()).task == "reports.nightly"
    with pytest.raises(UnknownTask):
        await oq.schedules.update("k", task="reports.nightli")


async def test_it_is_part_of_the_callers_transaction(oq: Client, db: asyncpg.Connection) -> None:
    transaction = db.transaction()
    await transaction.start()
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@daily", connection=db)
    await oq.schedules.update("k", cron="@hourly", connection=db)
    await oq.schedules.pause("k", connection=db)
    assert (await oq.schedules.get("k", connection=db)).status == "paused"
    with pytest.raises(ScheduleNotFound):
        await oq.schedules.get("k")
    await transaction.rollback()
    assert await oq.schedules.list() == []


def test_without_await_in_a_transaction_of_psycopg(dsn: str) -> None:
    with openqueue.connect_sync(dsn) as oq, psycopg.connect(dsn) as connection:
        oq.schedules.add("k", "a.b", allow_unknown=True, every="5m", connection=connection)
        assert oq.schedules.update("k", every="1h", connection=connection).outcome == "updated"
        assert oq.schedules.list() == []
        connection.commit()
        made = oq.schedules.add("k", "a.b", allow_unknown=True, every="1h")
        assert (made.outcome, made.info_sync().meaning) == ("unchanged", "every hour")
        fired = oq.schedules.trigger("k", connection=connection)
        assert fired.run is not None
        connection.commit()
        assert [run.id for run in made.runs_sync()] == [fired.run.id]
        assert [tick.manual for tick in made.ticks_sync()] == [True]
        oq.schedules.pause("k", "1d")
        assert oq.schedules.get("k").status == "paused"
        oq.schedules.resume("k")
        assert len(oq.schedules.next("k", 3)) == 3
        now = datetime.now(UTC)
        assert oq.schedules.backfill("k", now - 3 * HOUR, now).added == 3
        assert oq.schedules.remove("k", connection=connection) is True


async def test_a_key_that_names_nothing_is_refused_with_the_nearest_one(oq: Client) -> None:
    await oq.schedules.add("nightly", "a.b", allow_unknown=True, cron="@daily")
    calls: list[Any] = [
        oq.schedules.get,
        oq.schedules.pause,
        oq.schedules.resume,
        oq.schedules.trigger,
        oq.schedules.next,
        lambda key: oq.schedules.update(key, cron="@daily"),
        lambda key: oq.schedules.backfill(key, BEGIN, BEGIN),
    ]
    for call in calls:
        with pytest.raises(ScheduleNotFound, match="Did you mean 'nightly'") as told:
            await call("nihgtly")
        assert told.value.key == "nihgtly"


async def test_a_schedule_of_the_code_is_changed_there(oq: Client, db: asyncpg.Connection) -> None:
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@daily")
    await db.execute("UPDATE openqueue.schedules SET source = 'declarative'")
    with pytest.raises(InvalidOption, match="the code declares"):
        await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")
    with pytest.raises(InvalidOption, match="the code declares"):
        await oq.schedules.update("k", cron="@hourly")
    await oq.schedules.pause("k")
    assert (await oq.schedules.get("k")).status == "paused"


async def test_pauses_end_by_themselves_or_do_not(oq: Client) -> None:
    made = await oq.schedules.add("k", "a.b", allow_unknown=True, every="1h")
    until = datetime.now(UTC) + timedelta(days=2)
    await oq.schedules.pause("k", until, reason="holidays")
    info = await made.info()
    assert (info.status, info.paused_until, info.pause_reason) == ("paused", until, "holidays")
    assert info.next_at is not None
    assert until < info.next_at <= until + HOUR
    await oq.schedules.pause("k")
    info = await made.info()
    assert (info.status, info.paused_until, info.next_at) == ("paused", None, None)
    with pytest.raises(InvalidOption, match="until"):
        await oq.schedules.pause("k", datetime(2020, 1, 1, tzinfo=UTC))
    await oq.schedules.resume("k")
    assert (await made.info()).status == "active"


async def test_the_next_times_of_schedules_that_are_and_that_are_not(oq: Client) -> None:
    times = await oq.schedules.next(
        cron="30 2 * * *", timezone="America/New_York", n=2, after="2026-03-07T12:00Z"
    )
    assert [one.isoformat() for one in times] == ["2026-03-08T07:00:00+00:00", "2026-03-09T06:30:00+00:00"]
    assert await oq.schedules.next(every="1h", n=2, after=BEGIN) == [BEGIN + HOUR, BEGIN + 2 * HOUR]
    hashed = [await oq.schedules.next(key, cron="H H * * *", n=1, after=BEGIN) for key in "abc"]
    assert len({str(one) for one in hashed}) == 3
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly", max_runs=2)
    assert len(await oq.schedules.next("k")) == 2
    with pytest.raises(InvalidOption, match="n: 0"):
        await oq.schedules.next("k", 0)
    with pytest.raises(InvalidOption, match="cron: missing"):
        await oq.schedules.next()


async def test_a_backfill_makes_each_run_of_a_range_once(oq: Client, db: asyncpg.Connection) -> None:
    """T7."""
    made = await oq.schedules.add("k", "a.b", {"a": 1}, allow_unknown=True, cron="@hourly", overlap="skip")
    before = await db.fetchrow("SELECT * FROM openqueue.schedules")
    told: list[Backfilled] = []
    done = await oq.schedules.backfill("k", BEGIN, BEGIN + 23 * HOUR, rate=40, progress=told.append)
    assert (done.total, done.added, done.known, done.done) == (24, 24, 0, True)
    assert [one.added for one in told] == [10, 20, 24]
    again = await oq.schedules.backfill("k", BEGIN - HOUR, BEGIN + 24 * HOUR)
    assert (again.total, again.added, again.known) == (26, 2, 24)
    ticks = await made.ticks()
    assert [tick.at for tick in ticks] == [BEGIN + hours * HOUR for hours in range(24, -2, -1)]
    assert all(tick.backfill and tick.number is None for tick in ticks)
    runs = await made.runs()
    assert {run.id for run in runs} == {tick.run_id for tick in ticks}
    tick = next(run.tick for run in runs if run.id == ticks[0].run_id)
    assert tick == Tick(schedule="k", at=BEGIN + 24 * HOUR, previous=BEGIN + 23 * HOUR, backfill=True)
    assert await db.fetchrow("SELECT * FROM openqueue.schedules") == before, "neither cursor nor count moves"


async def test_two_backfills_at_a_time_make_each_run_once(oq: Client, db: asyncpg.Connection) -> None:
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")
    both = [oq.schedules.backfill("k", BEGIN, BEGIN + 99 * HOUR, rate=1000) for _ in range(2)]
    done = await asyncio.gather(*both)
    assert sum(one.added for one in done) == 100
    assert await db.fetchval("SELECT count(*) FROM openqueue.runs") == 100


async def test_one_that_was_interrupted_goes_on_when_it_is_repeated(oq: Client) -> None:
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")

    def stop(done: Backfilled) -> None:
        raise KeyError(done.added)

    with pytest.raises(KeyError):
        await oq.schedules.backfill("k", BEGIN, BEGIN + 99 * HOUR, rate=40, progress=stop)
    done = await oq.schedules.backfill("k", BEGIN, BEGIN + 99 * HOUR, rate=1000)
    assert (done.added, done.known) == (90, 10)


async def test_a_backfill_makes_up_for_what_was_skipped_and_its_history_stays(
    oq: Client, db: asyncpg.Connection
) -> None:
    made = await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")
    await db.execute(
        """INSERT INTO openqueue.schedule_ticks
        (namespace, schedule, at, fired_at, skipped, missed, missed_from) VALUES
        ('default', 'k', $1, now(), 'missed', 3, $2), ('default', 'k', $3, now(), 'overlap', NULL, NULL)""",
        BEGIN + 2 * HOUR,
        BEGIN,
        BEGIN + 5 * HOUR,
    )
    done = await oq.schedules.backfill("k", BEGIN, BEGIN + 5 * HOUR)
    assert (done.added, done.known) == (6, 0)
    ticks = {tick.at: tick for tick in await made.ticks()}
    assert all(tick.run_id and tick.skipped is None for tick in ticks.values())
    assert (ticks[BEGIN + 2 * HOUR].missed, ticks[BEGIN + 2 * HOUR].missed_from) == (3, BEGIN)
    assert (await oq.schedules.backfill("k", BEGIN, BEGIN + 5 * HOUR)).added == 0


@pytest.mark.parametrize(
    ("begin", "end", "options", "said"),
    [
        (BEGIN, BEGIN - HOUR, {}, "end: .* is before start"),
        (BEGIN, datetime(2150, 1, 1, tzinfo=UTC), {}, "end: .* is in the future"),
        (BEGIN, BEGIN + 20 * HOUR, {"limit": 20}, "limit: there are 21 times"),
        (BEGIN, BEGIN, {"rate": 0}, "rate: 0 is out of range"),
    ],
)
async def test_a_range_that_cannot_be_is_refused(
    oq: Client, begin: datetime, end: datetime, options: dict[str, Any], said: str
) -> None:
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")
    with pytest.raises(InvalidOption, match=said):
        await oq.schedules.backfill("k", begin, end, **options)


async def test_firing_by_hand_obeys_the_policy_and_moves_nothing(oq: Client, db: asyncpg.Connection) -> None:
    """T5, by hand."""
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@yearly", overlap="skip")
    before = (await oq.schedules.get("k")).fired
    first = await oq.schedules.trigger("k")
    assert first.outcome == "fired"
    assert first.run is not None
    assert (await oq.schedules.trigger("k")).outcome == "overlap"
    await oq.schedules.update("k", overlap="cancel_previous")
    second = await oq.schedules.trigger("k")
    assert second.run is not None
    assert await first.run.status() == "cancelled"
    await oq.schedules.update("k", overlap="queue")
    assert (await oq.schedules.trigger("k")).outcome == "waiting"
    info = await oq.schedules.get("k")
    assert (info.waiting, info.fired, info.last_at) == (True, before, None)


async def test_the_runs_of_a_schedule_are_filtered_as_all_are(oq: Client) -> None:
    for key in ("k", "other"):
        await oq.schedules.add(key, "a.b", allow_unknown=True, cron="@yearly")
    runs = [(await oq.schedules.trigger("k")).run for _ in range(3)]
    await oq.schedules.trigger("other")
    ids = [run.id for run in runs if run is not None]
    await oq.cancel(ids[0])
    found = await oq.list_runs(RunFilter(schedule="k"))
    assert [run.id for run in found] == ids[::-1]
    assert [run.id for run in await oq.list_runs(RunFilter(schedule="k", status=("cancelled",)))] == ids[:1]
    assert [run.id for run in await oq.list_runs(RunFilter(schedule="k", before=ids[1]))] == ids[:1]
    assert await oq.list_runs(RunFilter(schedule="k", task="x.y")) == []
    assert await oq.list_runs(RunFilter(schedule="nobody")) == []


def booking(**options: Any) -> Any:
    async def book(account: str, amount: int = 1) -> None:
        """Book it."""

    return task(name="bank.book", **options)(book)


def of_account(account: str, amount: int) -> str | None:
    return f"{account} {amount}" if account else None


async def test_a_key_that_a_function_makes_holds_for_the_runs_of_a_schedule(
    oq: Client, db: asyncpg.Connection
) -> None:
    """Who fires the tick has no Python at hand: the key is worked out when the schedule is added."""
    book = booking(concurrency_key=of_account, key_concurrency=2)
    made = await oq.schedules.add("k", book, {"account": "ada"}, cron="@daily")
    assert (await made.info()).concurrency_key == "ada 1", "the arguments' defaults count"
    await oq.schedules.trigger("k")
    assert await db.fetchval("SELECT concurrency_key FROM openqueue.run_requests") == "ada 1"
    assert (await oq.schedules.add("k", book, {"account": "bob"}, cron="@daily")).outcome == "updated"
    assert (await made.info()).concurrency_key == "bob 1"
    await oq.schedules.add("k", book, {"account": ""}, cron="@daily")
    assert (await made.info()).concurrency_key == "", "the function says that it has none"
    await oq.schedules.add("k", book, {"account": "ada"}, cron="@daily", concurrency_key="mine")
    assert (await made.info()).concurrency_key == "mine"
    await oq.schedules.update("k", concurrency_key=None)
    assert (await made.info()).concurrency_key is None


def test_without_await_the_key_is_worked_out_too(dsn: str) -> None:
    with openqueue.connect_sync(dsn) as client:
        client.schedules.add("k", booking(concurrency_key=of_account), {"account": "ada"}, cron="@daily")
        assert client.schedules.get("k").concurrency_key == "ada 1"


async def test_a_key_that_cannot_be_worked_out_is_no_schedule(oq: Client) -> None:
    book = booking(concurrency_key=lambda account: account["number"])
    with pytest.raises(InvalidOption, match=r"concurrency_key: the function of bank\.book raised TypeError"):
        await oq.schedules.add("k", book, {"account": "ada"}, cron="@daily")
    assert list(await oq.schedules.list()) == []
