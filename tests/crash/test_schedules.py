"""Schedules when leaders die, freeze or misread the time: each tick once, none lost but by a hand-over."""

from __future__ import annotations

import os
import signal
import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg

from tests.support.eventually import eventually
from tests.support.worker_process import ROOT, WorkerProcess, workers

ADD = """SELECT openqueue.add_schedule('k', 'crash.quick', '{"number": 1}', cron => '* * * * * *')"""
BEGAN = """SELECT started_at, meta -> 'openqueue.tick' ->> 'at' AS at FROM openqueue.runs
WHERE started_at IS NOT NULL"""
LEASE = 10.0


async def leader_of(every: list[WorkerProcess], db: asyncpg.Connection) -> WorkerProcess:
    """The process that leads, by its row."""

    async def look() -> WorkerProcess | None:
        holder = await db.fetchval("SELECT holder FROM openqueue.leader WHERE expires_at > clock_timestamp()")
        return next((one for one in every if one.heard("LeaderElected", worker=str(holder))), None)

    found: WorkerProcess = await eventually(look, timeout=60, what="a leader")
    return found


async def ticks(db: asyncpg.Connection) -> list[Any]:
    return await db.fetch(
        "SELECT at, fired_at, run_id, skipped, missed FROM openqueue.schedule_ticks ORDER BY at"
    )


async def fired_on(db: asyncpg.Connection, count: int) -> None:
    """Return once that many more ticks were fired."""
    before = len(await ticks(db))

    async def look() -> bool:
        return len(await ticks(db)) >= before + count

    await eventually(look, timeout=90, every=0.1, what=f"{count} more ticks")


async def each_once(db: asyncpg.Connection) -> list[Any]:
    """No tick has two runs, no run two ticks, and no second is without a decision."""
    async with db.transaction(isolation="repeatable_read"):  # both as they are at one moment
        rows = await ticks(db)
        made = await db.fetch("SELECT meta -> 'openqueue.tick' ->> 'at' AS at, id FROM openqueue.runs")
    runs = [row["run_id"] for row in rows if row["run_id"] is not None]
    assert {row["id"] for row in made} == set(runs)
    assert len({row["at"] for row in made}) == len(made) == len(runs)
    for one, later in pairwise(rows):
        assert later["at"] - one["at"] == timedelta(seconds=later["missed"] or 1)
    return rows


async def test_a_killed_leader_is_followed_within_its_lease(dsn: str, db: asyncpg.Connection) -> None:
    async with workers(3, dsn) as every:
        await db.execute(ADD)
        leader = await leader_of(every, db)
        await fired_on(db, 2)
        leader.signal(signal.SIGKILL)
        others = [one for one in every if one is not leader]
        assert await leader_of(others, db) is not leader
        await fired_on(db, 2)
        rows = await each_once(db)
    assert max(later["at"] - one["at"] for one, later in pairwise(rows)) < timedelta(seconds=6 * LEASE)
    elected = [told for one in others for told in one.heard("LeaderElected")]
    assert [told["ended"] for told in elected] == [None], "its lock was free, nobody had to be ended"


async def test_a_leader_that_stops_hands_over_at_once(dsn: str, db: asyncpg.Connection) -> None:
    async with workers(2, dsn) as every:
        await db.execute(ADD)
        leader = await leader_of(every, db)
        (other,) = [one for one in every if one is not leader]
        await fired_on(db, 2)
        assert await leader.stop(timeout=60) == 0
        assert leader.heard("LeaderLost") == []
        await leader_of([other], db)
        await fired_on(db, 2)
        await each_once(db)


async def test_a_frozen_leader_that_goes_on_fires_nothing_twice(dsn: str, db: asyncpg.Connection) -> None:
    """T2: stopped past its lease, replaced, resumed; until told otherwise it believes to lead."""
    async with workers(2, dsn) as every:
        await db.execute(ADD)
        leader = await leader_of(every, db)
        (other,) = [one for one in every if one is not leader]
        await fired_on(db, 2)
        pid = await db.fetchval("SELECT pid FROM openqueue.leader")
        leader.signal(signal.SIGSTOP)
        try:
            told = await other.wait_for("LeaderElected", timeout=90)
            assert told["ended"] == pid
            await fired_on(db, 3)
        finally:
            leader.signal(signal.SIGCONT)
        await leader.wait_for("LeaderLost", timeout=90)
        await fired_on(db, 3)
        await each_once(db)


class WrongClock(WorkerProcess):
    """A worker whose clock is `shift` seconds off, and `speed` times as fast; it waits `pace` times so."""

    def __init__(self, dsn: str, shift: float, speed: float, pace: float, **settings: Any) -> None:
        super().__init__(dsn, **settings)
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support" / "skewed")])
        skew = {"SKEW": shift, "SKEW_SPEED": speed, "SKEW_MONOTONIC": pace}
        self._environment |= {"PYTHONPATH": path} | {name: str(value) for name, value in skew.items()}
        self.shift = shift


async def test_whoever_leads_and_whatever_its_clock_says_each_tick_fires_once_and_not_early(
    dsn: str, db: asyncpg.Connection
) -> None:
    """An hour ahead, an hour behind, and half as fast again: each of them leads once."""
    hour = 3600.0
    clocks = [(hour, 1.0, 1.0), (-hour, 1.0, 0.999), (hour / 2, 1.5, 1.001)]
    async with AsyncExitStack() as stack:
        every = [
            await stack.enter_async_context(WrongClock(dsn, *clock, name=f"worker-{number}"))
            for number, clock in enumerate(clocks)
        ]
        for one in every:
            await one.started()
            assert abs(one.heard("clock")[0]["says"] - time.time() - one.shift) < hour / 4
        await db.execute(ADD.replace("cron =>", "catch_up => 1000, cron =>"))
        for _ in clocks:
            leader = await leader_of([one for one in every if one.alive], db)
            await fired_on(db, 2)
            assert await leader.stop() == 0
        rows = await each_once(db)
    assert all(row["skipped"] is None for row in rows), "what no leader was there for was caught up with"
    assert all(timedelta() <= row["fired_at"] - row["at"] < timedelta(minutes=15) for row in rows)
    began = await db.fetch(BEGAN)
    assert began
    assert all(run["started_at"] >= datetime.fromisoformat(run["at"]) for run in began)
