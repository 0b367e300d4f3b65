"""Fires what is due: a duty of the leader, who keeps all schedules of its namespace in memory.

The timer is set to the very time of the next tick, by the database's clock. What is due then was planned
before and goes out as one statement; a batch that fails is halved until what is at fault stands alone, and
that is told on its schedule. Every change is heard at once, and looked for now and then. That two believe
to lead is no harm: `fire_ticks` moves a schedule only from where its leader thought that it stood.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from openqueue.cluster.events import DutyFailed
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.scheduler import events
from openqueue.scheduler.entry import Entry
from openqueue.scheduler.firing import Answer, Firing, Sent
from openqueue.scheduler.moments import DatabaseClock
from openqueue.scheduler.timetable import Timetable

__all__ = ["Scheduler"]

LOOK_EVERY: Final = 60.0  # s between looks at everything: for changes that were not heard, and at the clock

WAITING_EVERY: Final = 2.0
"""Seconds between looks at ticks that wait for a run to end, should its end not be heard."""

UNPUBLISHED, UNPUBLISHED_EVERY = timedelta(days=7), 3600.0
"""A schedule whose task nobody has published for so long is paused; seconds between looks for such."""

SLICE: Final = 0.005
"""Seconds of planning ahead, after which the event loop has its turn."""

JUST_AFTER: Final = 0.001  # s that the timer aims after a tick: never before it, by the database's clock

AGAIN: Final = (0.05, 1.0)
"""Seconds until a schedule that could not be moved is tried again: doubled each time, up to the second."""

FIRST, LONGEST = 0.1, 5.0  # seconds of the pauses when the database is away; they double


class Scheduler:
    """Fires the schedules of a namespace, until cancelled."""

    def __init__(
        self,
        database: Database,
        listener: Listener,
        namespace: str,
        emit: Emit,
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._database = database
        self._listener = listener
        self._namespace = namespace
        self._emit = emit
        self._look_every = look_every
        self._clock = DatabaseClock(database)
        self._firing = Firing(database, namespace)
        self._table = Timetable()
        self._told = asyncio.Event()
        self._changed: set[str] = set()
        self._look_at_all = self._look_at_waiting = True
        self._failures = 0
        self._watched: datetime | None = None

    async def run(self) -> None:
        """Load every schedule and fire what is due, until cancelled."""
        deaf = self._listener.subscribe(self._hear), self._listener.on_connected(self._doubt)
        self._table, self._watched, self._look_at_all = Timetable(), None, True
        self._looked = -self._look_every
        self._look_for_unpublished = 0.0
        try:
            while True:
                try:
                    await self.once()
                    self._failures = 0
                except OpenQueueError as error:
                    await self._stumble(error)
        finally:
            for unsubscribe in deaf:
                unsubscribe()

    async def once(self) -> int:
        """Take in what has changed, fire what is due, or wait for it; answers how many were due."""
        self._told.clear()
        await self._take_in()
        now = self._clock.now()
        due = self._table.due(now)
        if due:
            await self._fire(due, now)
        elif not self._plan_ahead(now):
            await self._wait()
        else:
            await asyncio.sleep(0)
        return len(due)

    async def _take_in(self) -> None:
        if self._clock.doubted:
            await self._clock.measure()
        if self._look_at_all or time.monotonic() - self._looked >= self._look_every:
            await self._look()
        if self._look_at_waiting and self._table.waiting:
            self._look_at_waiting = False
            await self._release()
        if self._changed:
            keys, self._changed = sorted(self._changed), set()
            try:
                await self._read(keys)
            except BaseException:
                self._changed.update(keys)
                raise

    async def _look(self) -> None:
        """At everything: the clock, all revisions, and those schedules that nobody publishes any longer."""
        self._look_at_all = False
        self._looked = time.monotonic()
        try:
            await self._clock.measure()
            if self._looked >= self._look_for_unpublished:
                await self._database.fetchval("pause_unpublished", self._namespace, UNPUBLISHED)
                self._look_for_unpublished = self._looked + UNPUBLISHED_EVERY
            if self._watched is None:
                await self._read(None)
                self._watched = self._clock.now()
                self._emit(events.SchedulesLoaded(self._namespace, len(self._table.entries)))
            else:
                rows = await self._database.fetch("schedule_revisions", self._namespace)
                there = {row["key"]: row["revision"] for row in rows}
                known = {key: entry.revision for key, entry in self._table.entries.items()}
                self._changed |= {key for key, _ in there.items() ^ known.items()}
        except BaseException:
            self._look_at_all = True
            raise

    async def _read(self, keys: Sequence[str] | None) -> None:
        """Read these schedules (None: all) anew; those that are gone are forgotten."""
        rows = await self._database.fetch("schedules_of", self._namespace, keys)
        now = self._clock.now()
        for key in set(keys or ()) - {row["key"] for row in rows}:
            self._table.drop(key)
        for row in rows:
            self._put(Entry(row), now)

    def _put(self, entry: Entry, now: datetime) -> None:
        """Keep what was read. What stands where it stood when it could not be moved is tried less often."""
        before = self._table.entries.get(entry.key)
        pause = None
        if (
            before is not None
            and before.stale
            and (before.revision, before.cursor) == (entry.revision, entry.cursor)
        ):
            entry.stale = before.stale
            pause = timedelta(seconds=min(AGAIN[0] * 2.0 ** (entry.stale - 1), AGAIN[1]))
        if entry.waits and not self._look_at_waiting:
            self._look_at_waiting = True
            self._told.set()
        self._table.put(entry, now, after=pause)

    def _plan_ahead(self, now: datetime) -> bool:
        """Plan what is due soon, for a slice of time; says whether there may be more to plan."""
        assert self._watched is not None
        until = time.monotonic() + SLICE
        for entry in self._table.soon(now):
            with suppress(Exception):  # it is told when it is due
                entry.prepare(self._watched)
            if time.monotonic() > until:
                return not self._table.due_before(now)
        return False

    async def _wait(self) -> None:
        """Until the next time, or until something is told."""
        pause = self._look_every - (time.monotonic() - self._looked)
        if (at := self._table.next_at()) is not None:
            pause = min(pause, (at - self._clock.now()).total_seconds() + JUST_AFTER)
        waits = bool(self._table.waiting)
        if waits:
            pause = min(pause, WAITING_EVERY)
        try:
            async with asyncio.timeout(max(pause, 0.0)):
                await self._told.wait()
        except TimeoutError:
            self._look_at_waiting = waits

    async def _fire(self, due: Iterable[Entry], now: datetime) -> None:
        """Those that may have to wait for others go after all that need not."""
        prompt: list[Sent] = []
        patient: list[Sent] = []
        for entry in due:
            if (sent := await self._sent(entry, now)) is not None:
                (patient if entry.patient or entry.stale else prompt).append(sent)
        unsure = {one.entry.key for one in (*prompt, *patient)}
        try:
            for group in (prompt, patient):
                answers, failure = await self._firing.fire(group)
                self._settle(answers)
                unsure -= {one.sent.entry.key for one in answers}
                if failure is not None:
                    raise failure
        finally:
            self._changed |= unsure  # what became of them is not known: they are read anew

    async def _sent(self, entry: Entry, now: datetime) -> Sent | None:
        """What is to be stored of it now, if anything."""
        assert self._watched is not None
        try:
            advance = entry.advance(now, self._watched)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one, the others are fired
            entry.over = True
            if await self._database.fetchval(
                "mark_schedule", self._namespace, entry.key, entry.revision, str(error)
            ):
                self._emit(events.ScheduleInvalid(entry.key, str(error)))
            return None
        if entry.changes_nothing():
            entry.moved(entry.fired)
            self._table.put(entry, now)
            return None
        return Sent(entry, advance)

    def _settle(self, answers: Iterable[Answer]) -> None:
        """Take note of what became of what was sent, and set the next times."""
        now = self._clock.now()
        last: dict[str, Answer] = {}
        for one in answers:
            last[one.sent.entry.key] = one
            self._tell(one)
        for one in last.values():
            entry = one.sent.entry
            if one.outcome == "stale":
                entry.stale += 1
                self._clock.doubted = True  # it may have been before its time
                self._changed.add(entry.key)
                continue
            for missed in one.sent.advance.plan.skipped:
                self._emit(events.TicksMissed(entry.key, missed.count, missed.first, missed.last))
            assert one.fired is not None
            entry.moved(one.fired)
            self._table.put(entry, now)

    def _tell(self, one: Answer) -> None:
        entry = one.sent.entry
        if one.at is None:
            return
        if one.run_id is not None:
            late = self._clock.at(one.told) - one.at
            self._emit(events.TickFired(entry.key, one.at, one.run_id, late.total_seconds()))
        elif one.outcome == "failed":
            self._emit(events.ScheduleFailed(entry.key, one.sent.error or ""))
        elif one.outcome in ("waiting", "overlap"):
            entry.waits = entry.waits or one.outcome == "waiting"
            self._emit(events.TickSkipped(entry.key, one.at, one.outcome))

    async def _release(self) -> None:
        """Fire the ticks that have waited for a run, where it has ended."""
        for row in await self._database.fetch("release_ticks", self._namespace):
            self._changed.add(row["key"])
            if row["run_id"] is not None:
                late = (self._clock.now() - row["at"]).total_seconds()
                self._emit(events.TickFired(row["key"], row["at"], row["run_id"], late))

    async def _stumble(self, error: OpenQueueError) -> None:
        if not self._failures:
            self._emit(DutyFailed("scheduler", str(error)))
        pause = min(FIRST * 2.0 ** min(self._failures, 10), LONGEST) * random.uniform(0.75, 1.25)
        self._failures += 1
        await self._database.outage.wait(pause)

    def _hear(self, payload: str) -> None:
        """A notification of the schema's channel."""
        if '"schedules"' in payload:
            told = json.loads(payload)
            if told.get("namespace") != self._namespace:
                return
            if told.get("schedules") == "*":
                self._look_at_all = True
            else:
                self._changed.update(told.get("schedules") or ())
            self._told.set()
        elif '"done"' in payload and self._table.waiting:
            self._look_at_waiting = True
            self._told.set()

    def _doubt(self) -> None:
        """Notifications may have been missed."""
        self._look_at_all = self._look_at_waiting = True
        self._told.set()
