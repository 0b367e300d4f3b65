"""The bounded pool: jobs claimed, waiting here for a place, or running.

A place is a runner: a coroutine that runs one job after the other as long as some are waiting, so that a task
that does nothing costs no asyncio task of its own. Others are started only once every runner waits inside its
job. A runner is replaced when a job has left something behind in it: context variables it set, or a
cancellation it swallowed or took back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextvars import copy_context
from typing import Final
from uuid import UUID

from openqueue.runs.outcomes import RELEASED, Outcome
from openqueue.tasks.places import place
from openqueue.worker.job import Job
from openqueue.worker.one_place import Hear, OnePlace, Waits

__all__ = ["Ended", "Execute", "Inflight"]

PREFETCH_SECONDS: Final = 0.05
MOST_PREFETCHED: Final = 1_000
TURN: Final = 0.005
"""Seconds that runners may go on without letting the event loop do anything else."""

Execute = Callable[[Job], Awaitable[Outcome]]
Ended = Callable[[Job, Outcome], None]


class Inflight:
    """At most `concurrency` attempts at once; `ended` hears how each ended, `hear` what they log."""

    def __init__(
        self, concurrency: int, execute: Execute, ended: Ended, hear: Hear = lambda *_: None
    ) -> None:
        self.concurrency = concurrency
        self.waits = Waits()
        self._execute = execute
        self._ended = ended
        self._hear = hear
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._abandoned: set[Job] = set()
        self._runners: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._turn_ends = 0.0
        self._turning = False
        self._asked_more = False
        self._finished = 0
        self._measured = (time.monotonic(), 0)
        self._rate = 0.0

    @property
    def running(self) -> Collection[Job]:
        """The attempts under way; several jobs that are one call are one."""
        return self._running

    @property
    def held(self) -> list[Job]:
        """Everything that is here, running or not."""
        return [job for one in (*self._waiting, *self._running) for job in one.jobs]

    @property
    def waiting(self) -> int:
        """Jobs and calls claimed ahead that have no place yet."""
        return len(self._waiting)

    def waited(self) -> float:
        """Seconds that the oldest of them has waited."""
        return time.monotonic() - self._waiting[0].claimed_at if self._waiting else 0.0

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self._waiting or self._running)

    def find(self, run_id: UUID) -> Job | None:
        """The job of this run, if it is here; not one whose lease is gone and that is only on its way out."""
        return next((job for job in self.held if job.id == run_id and not job.lost), None)

    def in_queue(self, queue: str) -> int:
        """How many jobs of a queue are here."""
        return sum(1 for job in self.held if job.row["queue"] == queue)

    def room(self, claim_takes: float = 0.0) -> tuple[int, int]:
        """How many jobs to claim now, and how many of them would start at once; (0, 0) while there is enough.

        The target is what is free now and what is expected to finish in 50 ms, counted when the claim has
        come in, so many seconds from now; it is refilled when half of it would be gone by then, or a place
        is free.
        """
        free = self.concurrency - len(self._running) - len(self._waiting)
        rate = self._measure()
        ahead = min(MOST_PREFETCHED, int(rate * PREFETCH_SECONDS))
        begun = min(len(self._waiting), int(rate * claim_takes * 2))
        if free > 0 or (len(self._waiting) - begun) * 2 < ahead:
            return max(free + ahead + begun, 0), max(free, 0)
        return 0, 0

    async def wait_change(self) -> None:
        """Return when a job has ended since the last call."""
        await self._changed.wait()
        self._changed.clear()

    def nudge(self) -> None:
        """Let whoever waits for a change look anew."""
        self._changed.set()

    def put(self, jobs: Iterable[Job]) -> None:
        """Take in claimed jobs; those that find a place begin in the order given.

        When there are more than places, whoever brought them may first say what is to be claimed next.
        """
        self._waiting.extend(jobs)
        if len(self._waiting) > self.concurrency:
            self._turn_ends = 0.0
        if self._waiting and len(self._running) == len(self._runners) < self.concurrency:
            self._start_runner()

    def take_waiting(self) -> list[Job]:
        """Hand out all jobs that have not begun; they are no longer here."""
        jobs = [job for one in self._waiting for job in one.jobs]
        self._waiting.clear()
        for job in jobs:
            job.within = None
        self._changed.set()
        return jobs

    def drop(self, job: Job) -> bool:
        """Remove a job that has not begun; says whether it was so."""
        one = job.within or job
        if one not in self._waiting:
            return False
        if job.within is None or not job.within.leave(job):
            self._waiting.remove(one)
        self._changed.set()
        return True

    async def drained(self) -> None:
        """Return once nothing waits or runs."""
        while self.busy:
            await self.wait_change()

    def abandon(self) -> Sequence[Job]:
        """Stop waiting for attempts that do not end: they count as released, and may write nothing more."""
        left = list(self._running)
        self._running.clear()
        for job in left:
            self._abandoned.add(job)
            job.finished_at = time.monotonic()
            self._ended(job, RELEASED)
            if job.runner is not None:
                _forget(job.runner)
        self._changed.set()
        return left

    def _start_runner(self) -> None:
        runner = asyncio.create_task(self._run_jobs(), name="openqueue:runner")
        self._runners.add(runner)
        runner.add_done_callback(self._runner_done)

    def _runner_done(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if self._waiting and len(self._runners) < self.concurrency:
            self._start_runner()

    def _start_more(self) -> None:
        """Once the loop is back: if every runner waits inside its job, the jobs that wait need others."""
        self._asked_more = False
        if len(self._running) == len(self._runners):
            for _ in range(min(len(self._waiting), self.concurrency - len(self._runners))):
                self._start_runner()

    async def _run_jobs(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        loop = asyncio.get_running_loop()
        while self._waiting:
            now = time.monotonic()
            if now > self._turn_ends:
                self._end_turn()
                await asyncio.sleep(0)
                continue
            job = self._waiting.popleft()
            job.runner = me
            job.started_at = now
            place.set(OnePlace(job, self.waits, self._hear))
            clean = copy_context()
            self._running.add(job)
            if self._waiting and not self._asked_more:
                self._asked_more = True
                loop.call_soon(self._start_more)
            try:
                outcome = await self._execute(job)
            finally:
                job.runner = None
                job.finished_at = time.monotonic()
                self._finished += 1
                self._running.discard(job)
                self._changed.set()
            if job not in self._abandoned:
                self._ended(job, outcome)
            if me.cancelling() or _is_to_be_cancelled(me) or copy_context() != clean:
                return

    def _end_turn(self) -> None:
        """The turn is over for all runners; the next begins once the event loop has been round."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._turning = False
        self._turn_ends = time.monotonic() + TURN

    def _measure(self) -> float:
        """Jobs finished a second, smoothed; it fades, so a slow task is not claimed as a fast one was."""
        now = time.monotonic()
        since, finished = self._measured
        if now - since >= 0.01:
            rate = (self._finished - finished) / (now - since)
            weight = min(1.0, (now - since) / 0.1) if rate < self._rate else 0.5
            self._rate += weight * (rate - self._rate)
            self._measured = (now, self._finished)
        return self._rate


def _is_to_be_cancelled(runner: asyncio.Task[None]) -> bool:
    """Whether its next await is cancelled, though nobody asks for that any longer (before Python 3.13)."""
    return bool(getattr(runner, "_must_cancel", False))


def _forget(runner: asyncio.Task[None]) -> None:
    """Make the event loop forget a task that swallows its cancellation: at its end it would wait for ever."""
    asyncio.tasks._unregister_task(runner)
    runner._log_destroy_pending = False  # type: ignore[attr-defined]
