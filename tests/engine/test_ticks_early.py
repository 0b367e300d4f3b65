"""No tick is decided before its time by the database's clock, whatever its leader's clock says."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from tests.engine.calls import Engine

HOUR = timedelta(hours=1)


async def told(engine: Engine, at: datetime, **more: Any) -> str:
    """What a leader says that takes it to be that time."""
    (row,) = await engine.sql("SELECT revision, cursor_at FROM schedules WHERE key = 'k'")
    tick = {"at": at, "run_at": at, "previous": at - HOUR}
    advance = {
        "key": "k",
        "revision": row["revision"],
        "from": row["cursor_at"],
        "cursor": at,
        "ticks": [tick],
    }
    return json.dumps([advance | {"next_at": at + HOUR} | more], default=str)


async def schedule(engine: Engine) -> datetime:
    """A schedule, and the database's time."""
    await engine.sql("SELECT add_schedule('k', 't', cron => '@hourly')")
    now: datetime = (await engine.sql("SELECT clock_timestamp()"))[0][0]
    return now


async def test_a_leader_whose_clock_is_ahead_decides_nothing(engine: Engine) -> None:
    now = await schedule(engine)
    (row,) = await engine.call("fire_ticks", "default", await told(engine, now + HOUR))
    assert row["outcome"] == "stale"
    missed = [{"reason": "missed", "count": 2, "first": now, "last": now + HOUR}]
    (row,) = await engine.call(
        "fire_ticks", "default", await told(engine, now + HOUR, ticks=[], skipped=missed)
    )
    assert row["outcome"] == "stale"
    assert await engine.sql("SELECT FROM schedule_ticks") == []
    assert await engine.sql("SELECT FROM runs") == []


async def test_one_whose_clock_is_a_little_ahead_is_held_back_until_it_is_time(engine: Engine) -> None:
    at = await schedule(engine) + timedelta(milliseconds=90)
    (row,) = await engine.call("fire_ticks", "default", await told(engine, at))
    assert row["outcome"] == "fired"
    ((fired_at,),) = await engine.sql("SELECT fired_at FROM schedule_ticks")
    assert fired_at >= at


async def test_a_cursor_that_a_clock_set_back_has_left_in_the_future_can_stay(engine: Engine) -> None:
    """What has nothing due and says so is not stale for ever."""
    ahead = await schedule(engine) + HOUR
    await engine.sql("UPDATE schedules SET cursor_at = $1", ahead)
    (row,) = await engine.call("fire_ticks", "default", await told(engine, ahead, ticks=[]))
    assert row["outcome"] == "moved"


async def test_a_simulated_tick_is_decided_now_and_its_run_is_due_at_its_time(engine: Engine) -> None:
    """As `openqueue.advance` of tests says it, whose clock is not the database's."""
    at = await schedule(engine) + HOUR
    (row,) = await engine.call("fire_ticks", "default", await told(engine, at, early=True))
    assert row["outcome"] == "fired"
    ((run_at, status),) = await engine.sql("SELECT run_at, status FROM runs")
    assert (run_at, status) == (at, "scheduled")
