"""Takes in work: one claim at a time, as large as there is room for.

It claims when a place is free and something said that there may be work: the bell, the timer of the next
scheduled job, the poll floor; or, while jobs come thick, every few milliseconds. While claims are full it
goes on at once.
"""

from __future__ import annotations

import asyncio
import json
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
from openqueue.worker.events import JobsClaimed, JobsReleased
from openqueue.worker.inflight import Inflight
from openqueue.worker.intake.claims import Claims
from openqueue.worker.intake.doorbell import Doorbell
from openqueue.worker.intake.gathering import Gathering
from openqueue.worker.intake.lanes import Belled, Lanes
from openqueue.worker.intake.pace import Pace
from openqueue.worker.job import Job
from openqueue.worker.stumbling import Stumbling

__all__ = ["Producer"]

FEW: Final = 16
"""Jobs to take at a bell, from the one lane that it named; with more of them there is no hurry."""

HOARD: Final = 0.5
"""Seconds after which jobs claimed ahead that still wait go back: the next ones are slower than the last."""


class Producer:
    """Claims jobs of `tasks` in `queues` (each with the most to run of it; None: all) for one pool of places.

    `in_queue` counts the jobs of a queue in the whole process.
    """

    def __init__(
        self,
        database: Database,
        worker: UUID,
        claims: Claims,
        inflight: Inflight | Gathering,
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
        self._emit = emit
        self._stumbling = Stumbling("producer", emit, database.outage)
        self._pace = Pace(poll)
        self._lanes = Lanes()
        self._woken = asyncio.Event()
        self._last_queue = ""
        self._go_on = self._reconsider = False
        self.governed = self._control_heard = False
        self._asked: list[asyncio.Future[int]] = []
        doorbell.join(self.hear, lambda: self._inflight.room()[0] <= 0)

    def hear(
        self, ready: Sequence[Sequence[Any]] | None, due: float | None, control: str | None = None
    ) -> None:
        """The bell: lanes with new jobs (None: look everywhere), seconds until a scheduled one is due.

        `control`: of this scope something else holds now; what is claimed and has not begun goes back.
        """
        if control is not None:
            self._reconsider = True
            self._inflight.nudge()
        if control is not None or (due is None and ready is not None and not ready):
            self.governed = self._control_heard = True  # a gate may open: a claim from one lane sees to none
        if ready is None:
            self._pace.sweep_soon()
        else:
            self._lanes.hear(ready)
        if due is not None:
            self._pace.due_in(due, time.monotonic())
        self._woken.set()

    async def run(self) -> None:
        """Claim until cancelled."""
        while True:
            if self._reconsider:
                self._reconsider = False
                await self.give_back("what holds for queues, tasks or keys has changed")
            room, starting = self._inflight.room(self._pace.claim_takes)
            if room <= 0:
                await self._wait_room()
                continue
            asked, self._asked = self._asked, []
            # All that was ready has been read, and one lane has something new: then that is all there is.
            waits = asked or self._go_on or self._limited or self.governed
            hurry = not (waits or self._pace.owes_a_look(time.monotonic()))
            belled = self._lanes.belled(self._queues) if hurry else None
            try:
                if asked:
                    await self._answer(asked, room, starting)
                elif belled:
                    await self.once_from(belled, min(room, FEW), starting)
                else:
                    await self.once(room, starting)
            except OpenQueueError as error:
                self._asked = asked + self._asked
                await self._stumbling.pause(error)
                self._lanes.doubt()
                self._pace.sweep_soon()
                continue
            self._stumbling.recover()
            if not self._go_on:
                await self._wait_work()

    def wake(self) -> None:
        """There may be work that could not be taken before."""
        self._woken.set()

    async def look(self) -> int:
        """Have the next claim look through everything; answers what it brought. Needs `run` beside it."""
        asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._woken.set()
        return await asked

    async def _answer(self, asked: list[asyncio.Future[int]], room: int, starting: int) -> None:
        self._lanes.doubt()
        self._pace.look_forward()
        got = await self.once(room, starting)
        for one in asked:
            if not one.done():
                one.set_result(got)

    async def once(self, room: int, starting: int) -> int:
        """One claim of at most `room` jobs, of which `starting` begin now; answers how many it brought."""
        if not self._limited:
            return await self._claim(room, starting)
        async with self._claims.turn:  # what one pool takes of a queue counts for the others
            return await self._claim(room, starting)

    async def once_from(self, lane: Belled, most: int, starting: int) -> int:
        """One claim from the lane that a bell has named, without a look at anything else."""
        now = time.monotonic()
        rows = await self._take(
            most, "claim_lane", starting, self._tasks, lane.queue, lane.priority, lane.cursor, self._namespace
        )
        self._lanes.learn_lane(lane, rows[-1]["seq"] if rows else None)
        self._pace.claimed_lane(now, len(rows))
        self._go_on = len(rows) >= most
        return len(rows)

    async def _claim(self, room: int, starting: int) -> int:
        now = time.monotonic()
        sweep = self._pace.sweeps(now, self._lanes.swept)
        promote = self._pace.promotes(now, sweep)
        plan = self._lanes.sweep() if sweep else self._lanes.forward()
        self._control_heard = False  # unless it is heard meanwhile
        *rows, last = await self._take(
            room,
            "claim_jobs",
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
        took = time.monotonic() - now
        position = json.loads(last["input"])
        if self._lanes.learn(plan, rows, position, took):
            self._pace.sweep_soon()
        governed = position["governed"]
        self._doorbell.note(position["newest"], sum(row["returned"] for row in rows) if governed else 0)
        self.governed = governed or self._control_heard
        got, full = len(rows), len(rows) >= room
        self._pace.claimed(
            now, took, sweep=plan.sweep, promoted=promote, got=got, full=full, due=position["due"]
        )
        # Where it looked behind the cursors and found nothing, what lies ahead is still to be read.
        behind = any(upto is not None for upto in plan.uptos)
        self._go_on = bool(rows) or behind or position.get("more", False)
        return got

    async def _take(self, most: int, statement: str, *args: Any) -> Sequence[Any]:
        """Claim by a statement, and put what it brought into the pool; answers its rows."""
        claim, began = self._claims.next(), time.monotonic()
        asking = asyncio.ensure_future(self._database.fetch(statement, self._worker, claim, most, *args))
        try:
            rows = await asyncio.shield(asking)
            jobs = self._opened(claim, rows)
            self._inflight.put(jobs)
            self._emit(JobsClaimed(len(jobs), time.monotonic() - began))
        except asyncio.CancelledError:  # the worker stops; the claim is made all the same
            with suppress(OpenQueueError):
                await self._put_back(self._opened(claim, await asking), "the worker stops")
            raise
        finally:
            self._claims.pending.discard(claim)  # what it brought is known: beats name one or the other
        return rows

    def _opened(self, claim: int, rows: Sequence[Any]) -> list[Job]:
        """The jobs of a claim, which the completer knows of from now on."""
        jobs = [Job(row, claim) for row in rows if row["id"] is not None]
        if jobs:
            self._last_queue = jobs[-1].row["queue"]
            self._claims.brought.set()
            self._completer.claimed(claim, len(jobs))
        return jobs

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
            await self._stumbling.pause(error)

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
        floor = self._pace.poll * random.uniform(1.0, 1.1)
        wait = self._pace.wait(time.monotonic(), floor, bell=self._doorbell.on, swept=self._lanes.swept)
        try:
            async with asyncio.timeout(wait):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()


_NO_TIME: datetime | None = None  # due jobs are looked for from the beginning
