"""A scheduler that is wrong about the time, as when the server was set: it finds out, and nothing is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.events import Event
from openqueue.scheduler.events import TickFired
from openqueue.scheduler.scheduler import Scheduler
from openqueue.service import running
from tests.support.eventually import eventually


@pytest.mark.parametrize("hours", [1, -1])
async def test_who_believes_a_wrong_time_is_told_and_fires_at_the_right_one(
    dsn: str, db: asyncpg.Connection, hours: int
) -> None:
    await db.execute("SELECT openqueue.add_schedule('k', 't', cron => '* * * * * *', catch_up => 1000)")
    told: list[Event] = []

    def fired() -> int:
        return sum(isinstance(one, TickFired) for one in told)

    async with Database(dsn) as database:
        listener = Listener(dsn)
        scheduler = Scheduler(database, listener, "default", told.append, look_every=0.5)
        async with running(listener, scheduler):
            await eventually(lambda: fired() >= 1, what="a tick")
            clock: Any = scheduler._clock
            clock._zero += timedelta(hours=hours)
            before = fired()
            await eventually(lambda: fired() >= before + 2, what="two more ticks")
    rows = await db.fetch("SELECT at, fired_at, skipped FROM openqueue.schedule_ticks ORDER BY at")
    assert all(row["fired_at"] >= row["at"] for row in rows), "none before its time"
    assert all(row["skipped"] is None for row in rows), "none was missed"
    times = [row["at"] for row in rows]
    assert times == [times[0] + timedelta(seconds=number) for number in range(len(times))]
