"""Schedules where something is amiss: rules that cannot be computed, wrong clocks, transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psycopg
import pytest

import openqueue
from openqueue import Client, InvalidOption, ScheduleNotFound
from openqueue.scheduler import until
from openqueue.scheduler.model import Backfilled

HOUR = timedelta(hours=1)
BEGIN = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
async def oq(dsn: str, db: asyncpg.Connection) -> AsyncIterator[Client]:
    async with openqueue.connect(dsn) as client:
        yield client


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("cron => '61 2 * * *'", "61"),
        ("cron => '0 0 31 2 *'", "never"),
        ("cron => '@daily', timezone => 'CET-1CEST'", "CET-1CEST"),
        ("cron => '@daily', start_at => '1000-01-01 00:00+00'", "1970"),
    ],
)
async def test_one_that_cannot_be_computed_is_shown_with_the_reason_before_a_leader_has_seen_it(
    oq: Client, db: asyncpg.Connection, rule: str, said: str
) -> None:
    await db.execute(f"SELECT openqueue.add_schedule('bad', 'a.b', {rule})")
    await oq.schedules.add("good", "a.b", allow_unknown=True, cron="@daily")
    bad, good = await oq.schedules.list()
    assert (bad.key, bad.status, bad.next_at, bad.meaning) == ("bad", "invalid", None, "")
    assert said in (bad.invalid or "")
    assert good.status == "active"
    for ask in (oq.schedules.next("bad"), oq.schedules.backfill("bad", BEGIN, BEGIN + HOUR)):
        with pytest.raises(InvalidOption, match=said):
            await ask
    await oq.schedules.update("bad", cron="@hourly", timezone=None, start_at=None)
    assert (await oq.schedules.get("bad")).status == "active"


async def test_a_pause_for_so_long_is_counted_by_the_databases_clock(
    oq: Client, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) - 3 * HOUR

    monkeypatch.setattr(until, "datetime", Wrong, raising=False)
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@daily")
    before = await db.fetchval("SELECT clock_timestamp()")
    await oq.schedules.pause("k", "2h")
    info = await oq.schedules.get("k")
    after = await db.fetchval("SELECT clock_timestamp()")
    assert info.paused_until is not None
    assert before + 2 * HOUR <= info.paused_until <= after + 2 * HOUR


async def test_a_backfill_on_a_callers_connection_is_part_of_its_transaction(
    oq: Client, db: asyncpg.Connection
) -> None:
    transaction = db.transaction()
    await transaction.start()
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly", connection=db)
    told: list[Backfilled] = []
    done = await oq.schedules.backfill(
        "k", BEGIN, BEGIN + 999 * HOUR, connection=db, progress=told.append
    )  # at any rate, so many at 100 in a second would be seen to take long
    assert (done.added, done.known, done.done) == (1000, 0, True)
    assert told[-1] == done
    assert await oq.list_runs() == []
    await transaction.rollback()
    assert await db.fetchval("SELECT count(*) FROM openqueue.schedule_ticks") == 0
    with pytest.raises(ScheduleNotFound):
        await oq.schedules.backfill("k", BEGIN, BEGIN, connection=db)
    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")
    async with db.transaction():
        assert (await oq.schedules.backfill("k", BEGIN, BEGIN + HOUR, connection=db)).added == 2
    assert (await oq.schedules.backfill("k", BEGIN, BEGIN + HOUR)).known == 2
    with pytest.raises(InvalidOption, match=r"rate: .* connection"):
        await oq.schedules.backfill("k", BEGIN, BEGIN, rate=5, connection=db)


def test_a_backfill_in_a_transaction_without_await(dsn: str) -> None:
    with openqueue.connect_sync(dsn) as oq, psycopg.connect(dsn) as connection:
        oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly", connection=connection)
        done = oq.schedules.backfill("k", BEGIN, BEGIN + 299 * HOUR, connection=connection)
        assert done.added == 300
        assert oq.schedules.ticks("k") == []
        connection.commit()
        assert len(oq.schedules.ticks("k", limit=1000)) == 300
        assert oq.schedules.backfill("k", BEGIN, BEGIN + 299 * HOUR).known == 300


async def test_what_was_there_already_takes_no_time_of_the_rate(
    oq: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that goes on where it was interrupted does not wait as if it had made what it found."""
    paused: list[float] = []

    async def note(seconds: float) -> None:
        paused.append(seconds)

    await oq.schedules.add("k", "a.b", allow_unknown=True, cron="@hourly")
    await oq.schedules.backfill("k", BEGIN, BEGIN + 99 * HOUR, rate=10_000)
    monkeypatch.setattr("openqueue.scheduler.backfill.asyncio.sleep", note)
    done = await oq.schedules.backfill("k", BEGIN, BEGIN + 109 * HOUR, rate=4)
    monkeypatch.undo()
    assert (done.known, done.added) == (100, 10)
    assert len(paused) == 9, "after each but the last"
    assert all(one <= 0.25 for one in paused)
