"""Tells the database which jobs claimed ahead have begun, so that what runs shows as running.

A job claimed ahead that ends within the interval is never reported: its end is. One that was with a lost
worker is reported before it begins (`probation`), so that a job that kills its worker is counted each time;
and so is one whose deadline is near, as only the database's clock says whether it may still begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.worker.job import Job
from openqueue.worker.stumbling import Stumbling

__all__ = ["Starter"]

EVERY: Final = 0.1


class Starter:
    """Reports the starts of one worker's jobs; `lost` hears of those whose lease is gone.

    It rests while the worker is not `busy`, that is has no job, until some are `brought`.
    """

    def __init__(
        self,
        database: Database,
        worker: UUID,
        running: Callable[[], Iterable[Job]],
        busy: Callable[[], bool],
        brought: asyncio.Event,
        lost: Callable[[Job], None],
        emit: Emit,
    ) -> None:
        self._database = database
        self._worker = worker
        self._running = running
        self._busy = busy
        self._brought = brought
        self._lost = lost
        self._stumbling = Stumbling("starter", emit, database.outage)

    async def run(self) -> None:
        """Look ten times a second while there are jobs, and report what has begun, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.once()
            except OpenQueueError as error:
                await self._stumbling.pause(error)
            else:
                self._stumbling.recover()
            if not self._busy():
                self._brought.clear()
                await self._brought.wait()

    async def once(self) -> int:
        """Report what has begun since; answers how many."""
        begun = [job for job in self._running() if not (job.started or job.doubted)]
        if begun:
            await self._report(begun, begun=True)
        return len(begun)

    async def before(self, job: Job) -> bool:
        """Report this one now, before it begins; says whether it may."""
        await self._report([job], begun=False)
        return not job.lost

    async def _report(self, jobs: list[Job], *, begun: bool) -> None:
        lost = await self._database.fetchval(
            "start_jobs", self._worker, [job.id for job in jobs], [job.claim for job in jobs], begun
        )
        expired = await self._expired_of(job for job in jobs if job.id in lost and not begun)
        for job in jobs:
            job.started = True
            job.expired = job.id in expired
            if job.id in lost:
                self._lost(job)

    async def _expired_of(self, lost: Iterable[Job]) -> list[UUID]:
        """Which of these must not run because their deadline has passed."""
        late = [job.id for job in lost if job.row["deadline"] is not None]
        return list(await self._database.fetchval("expired_runs", late)) if late else []
