"""Takes in work: one claim at a time, as large as there is room for.

It claims when a place is free and something said that there may be work: the bell, the timer of the next
scheduled job, the poll floor; or, while jobs come thick, every few milliseconds. While claims are full it
goes on at once.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.worker.completer import Completer
from openqueue.worker.doorbell import Doorbell
from openqueue.worker.events import JobsReleased
from openqueue.worker.inflight import Inflight
from openqueue.worker.job import Job
from openqueue.worker.lanes import Lanes
from openqueue.worker.stumbling import Stumbling

__all__ = ["Claims", "Producer"]

BUSY_POLL: Final = (0.002, 0.01)
SWEEP_EVERY: Final = 1.0
"""Seconds between sweeps while claims come back full; else the first follows soon, then ever more seldom."""

SWEEP_SOON: Final = 0.02
SWEEP_SHARE: Final = 20
"""Sweeping takes at most a twentieth of the time: after one of n seconds none for twenty times n."""

OVERDUE: Final = (0.01, 0.25)
"""Seconds until the next look for a due job that could not be moved into line: somebody has it locked."""

HOARD: Final = 0.5
"""Seconds after which jobs claimed ahead that still wait go back: the next ones are slower than the last."""


class Claims:
    """The numbers of this worker's claims, and those whose reply is not in yet."""

    def __init__(self) -> None:
        self._numbers = itertools.count(time.time_ns() // 1000)  # never used before, also by an earlier life
        self.pending: set[int] = set()
        self.turn = asyncio.Lock()

    def next(self) -> int:
        """A number for a claim about to be made."""
        claim = next(self._numbers)
        self.pending.add(claim)
        return claim


class Producer:
    """Claims jobs of `tasks` in `queues` (each with the most to run of it; None: all) for one pool of places.

    `in_queue` counts the jobs of a queue in the whole process.
    """

    def __init__(
        self,
        database: Database,
        worker: UUID,
        claims: Claims,
        inflight: Inflight,
        completer: Completer,
        doorbell: Doorbell,
        *,
        tasks: Sequence[str],
        queues: dict[str, int | None] | None,
        in_queue: Callable[[str], int],
        namespace: str,
        poll: float,
        emit: Emit,
    ) -> None:
        self._database = database
        self._worker = worker
        self._claims = claims
        self._inflight = inflight
        self._completer = completer
        self._doorbell = doorbell
        self._tasks = list(tasks)
        self._queues = queues
        self._in_queue = in_queue
        self._limited = any(most is not None for most in (queues or {}).values())
        self._namespace = namespace
        self._poll = poll
        self._emit = emit
        self._stumbling = Stumbling("producer", emit)
        self._lanes = Lanes()
        self._woken = asyncio.Event()
        self._last_queue = ""
        self._due_at: float | None = None
        self._promote_at = 0.0
        self._overdue = OVERDUE[0]
        self._sweep_at = 0.0
        self._swept_at = 0.0
        self._sweep_pause = SWEEP_SOON
        self._sweep_soon = False
        self._looked_behind = False
        self._asked: asyncio.Future[int] | None = None
        self._pause = BUSY_POLL[0]
        doorbell.join(self.hear, lambda: self._inflight.room()[0] <= 0)

    def hear(self, ready: Sequence[Sequence[Any]] | None, due: float | None) -> None:
        """The bell: lanes with new jobs (None: look everywhere), seconds until a scheduled one is due."""
        if ready is None:
            self._sweep_soon = True
        else:
            self._lanes.hear(ready)
        if due is not None:
            at = time.monotonic() + due
            self._due_at = at if self._due_at is None else min(self._due_at, at)
        self._woken.set()

    async def run(self) -> None:
        """Claim until cancelled."""
        while True:
            room, starting = self._inflight.room()
            if room <= 0:
                await self._wait_room()
                continue
            asked, self._asked = self._asked, None
            try:
                got = await (self._answer(asked, room, starting) if asked else self.once(room, starting))
            except OpenQueueError as error:
                self._asked = asked
                await asyncio.sleep(self._stumbling.stumble(error))
                self._lanes.doubt()
                self._sweep_soon = True
                continue
            self._stumbling.recover()
            if got or self._looked_behind:  # behind nothing was found: what lies ahead is still to be read
                self._pause = BUSY_POLL[0] if got else self._pause
                await asyncio.sleep(0)
            else:
                await self._wait_work()

    def wake(self) -> None:
        """There may be work that could not be taken before."""
        self._woken.set()

    async def look(self) -> int:
        """Have the next claim look through everything; answers what it brought. Needs `run` beside it."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.get_running_loop().create_future()
        self._woken.set()
        return await asyncio.shield(self._asked)

    async def _answer(self, asked: asyncio.Future[int], room: int, starting: int) -> int:
        self._lanes.doubt()
        self._promote_at = 0.0
        self._sweep_soon = False
        self._sweep_at = math.inf
        got = await self.once(room, starting)
        asked.set_result(got)
        return got

    async def once(self, room: int, starting: int) -> int:
        """One claim of at most `room` jobs, of which `starting` begin now; answers how many it brought."""
        if not self._limited:
            return await self._claim(room, starting)
        async with self._claims.turn:  # what one pool takes of a queue counts for the others
            return await self._claim(room, starting)

    async def _claim(self, room: int, starting: int) -> int:
        now = time.monotonic()
        sweep = self._sweep_soon or (now >= self._sweep_at and not self._lanes.swept)
        self._sweep_soon = False
        plan = self._lanes.sweep() if sweep else self._lanes.forward()
        self._looked_behind = any(upto is not None for upto in plan.uptos)
        promote = sweep or now >= self._promote_at or (self._due_at is not None and now >= self._due_at)
        claim = self._claims.next()
        try:
            *rows, last = await self._database.fetch(
                "claim_jobs",
                self._worker,
                claim,
                room,
                starting,
                self._tasks,
                *self._queue_limits(),
                plan.queues,
                plan.priorities,
                plan.cursors,
                plan.uptos,
                self._last_queue,
                promote,
                _NO_TIME,
                self._namespace,
            )
            self._take(claim, rows)  # before it is no longer pending: beats name one or the other
        finally:
            self._claims.pending.discard(claim)
        taken = time.monotonic() - now
        position = json.loads(last["input"])
        if self._lanes.learn(plan, rows, position, taken):
            self._sweep_soon = True
        self._plan_sweep(plan.sweep, len(rows), len(rows) >= room, now, taken)
        if promote:
            self._promote_at = now + self._poll
        self._doorbell.note(position["newest"])
        self._due_at = self._next_due(position["due"], promote and not rows, now + taken)
        return len(rows)

    def _plan_sweep(self, swept: bool, got: int, full: bool, now: float, taken: float) -> None:
        """Sweep soon after jobs came, one may have committed late; then more seldom; seldom under backlog."""
        if swept:
            self._swept_at = now + SWEEP_SHARE * taken
            self._sweep_pause = min(self._sweep_pause * 2, SWEEP_EVERY)
        if full:
            self._sweep_pause = SWEEP_EVERY
        elif got:
            self._sweep_pause = SWEEP_SOON
        self._sweep_at = self._swept_at + self._sweep_pause

    def _next_due(self, due: float | None, in_vain: bool, now: float) -> float | None:
        """When the next scheduled job is due; later, and later again, for one that somebody has locked."""
        if due is not None and due <= 0 and in_vain:
            pause, self._overdue = self._overdue, min(self._overdue * 2, OVERDUE[1])
            return now + pause
        self._overdue = OVERDUE[0]
        return None if due is None else now + max(0.0, due)

    def _take(self, claim: int, rows: Sequence[Any]) -> None:
        if rows:
            self._last_queue = rows[-1]["queue"]
            self._completer.claimed(claim, len(rows))
            self._inflight.put(Job(row, claim) for row in rows)

    def _queue_limits(self) -> tuple[list[str] | None, list[int | None] | None]:
        if self._queues is None:
            return None, None
        return list(self._queues), [
            None if most is None else max(0, most - self._in_queue(queue))
            for queue, most in self._queues.items()
        ]

    async def _wait_room(self) -> None:
        """Until a place is free; what was claimed ahead and waits too long goes back."""
        waited = self._inflight.waited()
        if waited > HOARD:
            await self.give_back("claimed ahead, but the jobs before them take longer than was expected")
            return
        try:
            async with asyncio.timeout(HOARD - waited + 0.01 if self._inflight.waiting else None):
                await self._inflight.wait_change()
        except TimeoutError:
            pass

    async def give_back(self, why: str) -> None:
        """Return what has not begun to its queue."""
        jobs = self._inflight.take_waiting()
        if not jobs:
            return
        try:
            await self._put_back(jobs, why)
        except BaseException as error:
            for job in jobs:
                job.doubted = True  # they may have gone back, though the reply was lost
            self._inflight.put(jobs)
            if not isinstance(error, OpenQueueError):
                raise
            await asyncio.sleep(self._stumbling.stumble(error))

    async def stop(self) -> None:
        """Return what has not begun; if the database is away, others find it when this worker is gone."""
        with suppress(OpenQueueError):
            await self._put_back(self._inflight.take_waiting(), "the worker stops")

    async def _put_back(self, jobs: list[Job], why: str) -> None:
        if jobs:
            await self._database.fetch(
                "put_back", self._worker, [job.id for job in jobs], [job.claim for job in jobs]
            )
            for job in jobs:
                self._completer.gone(job)
            self._emit(JobsReleased(len(jobs), why))

    async def _wait_work(self) -> None:
        """Until the bell, a scheduled job, the poll floor, or the next busy look."""
        now = time.monotonic()
        wait = self._poll * random.uniform(0.9, 1.1)
        if not self._doorbell.on:
            wait, self._pause = self._pause, min(self._pause * 2, BUSY_POLL[1])
        if self._due_at is not None:
            wait = min(wait, max(0.0, self._due_at - now))
        if not self._lanes.swept:
            wait = min(wait, max(0.0, self._sweep_at - now))
        try:
            async with asyncio.timeout(wait):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()


_NO_TIME: datetime | None = None
"""Due jobs are looked for from the beginning."""
