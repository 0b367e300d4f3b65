"""Schedules under a test's clock: what would have fired while time passed, fired now, in order.

As if a leader had been there all along: each tick on time, one after the other, by the policies of its
schedule. Runs begin to run only afterwards, so a schedule that must not overlap fires once in a step.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Any

from openqueue.codec import decode, encode
from openqueue.db.pool import Database
from openqueue.errors import InvalidOption, UnexpectedState
from openqueue.scheduler.entry import Entry
from openqueue.scheduler.firing import Firing, Sent

__all__ = ["MOST_TICKS", "fire_passed"]

MOST_TICKS = 10_000
"""Ticks in one step; more are taken for a duration that is too long for a schedule that fires often."""


async def fire_passed(database: Database, namespace: str, before: timedelta, passed: timedelta) -> None:
    """Fire what is due while `passed` passes; `before` has passed in this database already.

    Rows tell times as if nothing had passed, but ticks and cursors: those are of the test's clock. Raises
    UnexpectedState for more than MOST_TICKS.
    """
    now = await database.fetchval("database_time") + before
    await database.fetch("release_ticks", namespace)
    rows = await database.fetch("schedules_of", namespace, None)
    entries = [Entry(_moved(row, before)) for row in rows]
    due = [(at, number) for number, one in enumerate(entries) if (at := one.due_at(now)) is not None]
    heapify(due)
    firing, fired = Firing(database, namespace), 0
    while due and due[0][0] <= now + passed:
        at, number = heappop(due)
        entry = entries[number]
        fired += await _fire(firing, entry, max(at, now), now, before)
        if fired > MOST_TICKS:
            raise UnexpectedState(
                f"{MOST_TICKS} ticks of schedules are due in {passed}, and more (the last one of"
                f" {entry.key!r}): advance in shorter steps."
            )
        if entry.next_at is not None and not entry.over:
            heappush(due, (entry.next_at, number))


def _moved(row: Any, before: timedelta) -> dict[str, Any]:
    """A schedule with its times by the test's clock; its next one is to be computed anew."""
    fields = {**dict(row), "next_at": None}
    for name in ("since_at", "created_at", "paused_until"):
        fields[name] = fields[name] and fields[name] + before
    return fields


async def _fire(firing: Firing, entry: Entry, at: datetime, began: datetime, before: timedelta) -> int:
    """Fire what is due of one schedule at a moment; answers how many ticks that were."""
    try:
        advance = entry.advance(at, began)
    except InvalidOption:
        entry.over = True
        return 0
    if not advance.plan.fire and not advance.plan.skipped:
        entry.moved(entry.fired)
        return 0
    told = decode(advance.text) | {"early": True}
    for tick in told["ticks"]:
        # By the database's clock that is later; all that waits is moved back afterwards.
        tick["run_at"] = (datetime.fromisoformat(tick["run_at"]) - before).isoformat()
    answers, failure = await firing.fire([Sent(entry, replace(advance, text=encode(told)))])
    if failure is not None:
        raise failure
    fired = [one.fired for one in answers if one.fired is not None]
    if not fired:
        raise UnexpectedState(
            f"Schedule {entry.key!r} is locked or moved by another session: end that first."
        )
    entry.moved(fired[-1])
    return len(fired)
