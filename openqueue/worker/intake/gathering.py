"""Gathers the claimed jobs of a task with `batch=` to calls, and hands these to a pool of places.

To the producer that claims for it, it is a pool whose places hold `size` jobs each. What is gathered holds no
place: others may take it meanwhile, and the call then waits in line. A job that was with a lost worker is not
gathered: it begins alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from uuid import UUID

from openqueue.tasks.batch import Batch
from openqueue.worker.inflight import MOST_PREFETCHED, Inflight
from openqueue.worker.job import Gathered, Job

__all__ = ["Gathering"]


class Gathering:
    """The jobs of one task that wait for company; `pool` is where their calls run."""

    def __init__(self, pool: Inflight, batch: Batch) -> None:
        self._pool = pool
        self._size = batch.size
        self._wait = batch.wait.total_seconds()
        self._jobs: list[Job] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> list[Job]:
        """Those that wait for company."""
        return list(self._jobs)

    @property
    def busy(self) -> bool:
        """Whether any waits."""
        return bool(self._jobs)

    @property
    def running(self) -> Collection[Job]:
        """None: what runs is in the pool."""
        return ()

    @property
    def waiting(self) -> int:
        """Jobs and calls that wait for a place in the pool."""
        return self._pool.waiting

    def waited(self) -> float:
        """Seconds that the oldest of them has waited."""
        return self._pool.waited()

    def find(self, run_id: UUID) -> Job | None:
        """The job of this run, if it waits here."""
        return next((job for job in self._jobs if job.id == run_id and not job.lost), None)

    def in_queue(self, queue: str) -> int:
        """How many jobs of a queue wait here."""
        return sum(1 for job in self._jobs if job.row["queue"] == queue)

    def room(self, claim_takes: float = 0.0) -> tuple[int, int]:
        """How many jobs to claim now: `size` for each place there is; none of them starts at once."""
        calls, _ = self._pool.room(claim_takes)
        if calls <= 0:
            return 0, 0
        return max(self._size, min(calls * self._size, MOST_PREFETCHED)) - len(self._jobs), 0

    async def wait_change(self) -> None:
        """Return when something has ended in the pool."""
        await self._pool.wait_change()

    def nudge(self) -> None:
        """Let whoever waits for a change look anew."""
        self._pool.nudge()

    def put(self, jobs: Iterable[Job]) -> None:
        """Take in claimed jobs, and let go what is a call by now."""
        calls: list[Job] = []
        for job in jobs:
            if job.doubted:
                calls.append(job)
                continue
            self._jobs.append(job)
            if len(self._jobs) >= self._size:
                calls.append(self._call())
        if self._jobs and self._wait <= 0:
            calls.append(self._call())
        self._pool.put(calls)
        if self._jobs and self._timer is None:
            left = self._jobs[0].claimed_at + self._wait - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(left, self._time_is_over)

    def take_waiting(self) -> list[Job]:
        """Hand out what has not begun, also what waits in the pool; it is no longer here."""
        jobs, self._jobs = self._jobs, []
        self._stop_timer()
        return jobs + self._pool.take_waiting()

    def drop(self, job: Job) -> bool:
        """Remove a job that waits here; says whether it was so."""
        if job not in self._jobs:
            return False
        self._jobs.remove(job)
        if not self._jobs:
            self._stop_timer()
        return True

    def _call(self) -> Gathered:
        call = Gathered(self._jobs)
        self._jobs = []
        self._stop_timer()
        return call

    def _time_is_over(self) -> None:
        self._timer = None
        if self._jobs:
            self._pool.put([self._call()])

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
