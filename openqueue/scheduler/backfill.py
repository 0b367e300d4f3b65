"""Runs for times that are past: in steps, no faster than is asked for, and never two for one time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from openqueue.codec import encode
from openqueue.db.pool import Database
from openqueue.errors import InvalidOption
from openqueue.scheduler.model import Backfilled, ScheduleInfo
from openqueue.tasks.checks import check_whole

__all__ = ["Backfill"]

STEPS: Final = 4
"""Statements in a second, at most: each holds the schedule's row for as long as it takes."""

INSTANT: Final = timedelta(microseconds=1)


class Backfill:
    """Backfills a schedule, as it was when read, at most `rate` ticks in a second, `limit` in all."""

    def __init__(
        self, database: Database, namespace: str, schedule: ScheduleInfo, *, rate: int, limit: int
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._schedule = schedule
        self._rate = check_whole(1, 10_000)(rate, "rate")
        self._limit = check_whole(1, 10_000_000)(limit, "limit")

    async def run(
        self, start: datetime, end: datetime, progress: Callable[[Backfilled], object] | None = None
    ) -> Backfilled:
        """Enqueue what has no run yet, from `start` to `end`, both included; see `Schedules.backfill`."""
        done = Backfilled(await self.count(start, end))
        times = self._schedule.firetimes
        previous = times.previous(start)
        size = max(1, self._rate // STEPS)
        coming = times.between(start - INSTANT, end)
        steps = iter(lambda: tuple(islice(coming, size)), ())
        began = time.monotonic()
        for number, ats in enumerate(steps, start=1):
            befores = (previous, *ats)
            ticks = [{"at": at, "previous": before} for at, before in zip(ats, befores, strict=False)]
            rows = await self._database.fetch(
                "backfill_schedule", self._schedule.key, encode(ticks), self._namespace
            )
            added = sum(row["added"] for row in rows)
            done = replace(done, added=done.added + added, known=done.known + len(rows) - added)
            previous = ats[-1]
            if progress is not None:
                progress(done)
            if not done.done and added:
                await asyncio.sleep(began + number * size / self._rate - time.monotonic())
        return done

    async def count(self, start: datetime, end: datetime) -> int:
        """How many times there are. Raises InvalidOption for a range that cannot be backfilled."""
        if end < start:
            raise InvalidOption(f"end: {end.isoformat()} is before start, {start.isoformat()}.", option="end")
        now: datetime = await self._database.fetchval("database_time")
        if end > now:
            raise InvalidOption(
                f"end: {end.isoformat()} is in the future. What is to come is fired when it is due:"
                " end it now, or earlier.",
                option="end",
            )
        count = self._schedule.firetimes.count(start - INSTANT, end)
        if count > self._limit:
            raise InvalidOption(
                f"limit: there are {count:,} times in that range, and at most {self._limit:,} are allowed."
                " Give a shorter range, or a higher limit.",
                option="limit",
            )
        return count
