"""Runs for times that are past: in steps, no faster than is asked for, and never two for one time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from openqueue.codec import encode
from openqueue.errors import InvalidOption
from openqueue.scheduler.model import Backfilled, ScheduleInfo
from openqueue.tasks.checks import check_whole

__all__ = ["Backfill", "pace"]

STEPS: Final = 4
"""Statements in a second, at most: each holds the schedule's row for as long as it takes."""

AT_ONCE: Final = 250
"""Ticks in one statement where there is no rate."""

INSTANT: Final = timedelta(microseconds=1)

Fetch = Callable[[str, Sequence[Any]], Awaitable[Sequence[Any]]]


def pace(rate: int | None, *, transactional: bool) -> int | None:
    """How many in a second; None for a transaction, of which all is there at once. Raises InvalidOption."""
    if not transactional:
        return check_whole(1, 10_000)(100 if rate is None else rate, "rate")
    if rate is not None:
        raise InvalidOption(
            "rate: with connection all of it is there at once, by the commit. Leave one of the two out.",
            option="rate",
        )
    return None


class Backfill:
    """Backfills a schedule, as it was when read, at most `rate` ticks in a second, `limit` in all.

    `fetch` asks a named statement. Without a rate nothing is waited for.
    """

    def __init__(
        self, fetch: Fetch, namespace: str, schedule: ScheduleInfo, *, rate: int | None, limit: int
    ) -> None:
        self._fetch = fetch
        self._namespace = namespace
        self._schedule = schedule
        self._rate = rate
        self._limit = check_whole(1, 10_000_000)(limit, "limit")

    async def run(
        self, start: datetime, end: datetime, progress: Callable[[Backfilled], object] | None = None
    ) -> Backfilled:
        """Enqueue what has no run yet, from `start` to `end`, both included; see `Schedules.backfill`."""
        done = Backfilled(await self.count(start, end))
        times = self._schedule.firetimes
        previous = times.previous(start)
        size = AT_ONCE if self._rate is None else max(1, self._rate // STEPS)
        coming = times.between(start - INSTANT, end)
        steps = iter(lambda: tuple(islice(coming, size)), ())
        for ats in steps:
            began = time.monotonic()
            befores = (previous, *ats)
            ticks = [{"at": at, "previous": before} for at, before in zip(ats, befores, strict=False)]
            arguments = [self._schedule.key, encode(ticks), self._namespace]
            rows = await self._fetch("backfill_schedule", arguments)
            added = sum(row["added"] for row in rows)
            done = replace(done, added=done.added + added, known=done.known + len(rows) - added)
            previous = ats[-1]
            if progress is not None:
                progress(done)
            if self._rate is not None and added and not done.done:
                await asyncio.sleep(began + added / self._rate - time.monotonic())
        return done

    async def count(self, start: datetime, end: datetime) -> int:
        """How many times there are. Raises InvalidOption for a range that cannot be backfilled."""
        if end < start:
            raise InvalidOption(f"end: {end.isoformat()} is before start, {start.isoformat()}.", option="end")
        ((now,),) = (tuple(dict(row).values()) for row in await self._fetch("database_time", ()))
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
