"""Finds out which leases are gone, after this worker had been given up for dead.

What it held then was given to others. What it has claimed since is its own, and no rescuer looks for it:
only the database can tell the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.worker.job import Job
from openqueue.worker.stumbling import Stumbling

__all__ = ["Leases"]


class Leases:
    """Asks of every job in `held` whether this worker still has it; `lost` hears of those it has not."""

    def __init__(
        self,
        database: Database,
        worker: UUID,
        held: Callable[[], Collection[Job]],
        lost: Callable[[Job], None],
        emit: Emit,
    ) -> None:
        self._database = database
        self._worker = worker
        self._held = held
        self._lost = lost
        self._stumbling = Stumbling("leases", emit, database.outage)
        self._doubted = asyncio.Event()

    def doubt(self) -> None:
        """Ask soon."""
        self._doubted.set()

    async def run(self) -> None:
        """Ask whenever there is doubt, until cancelled."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            try:
                await self.once()
            except OpenQueueError as error:
                self._doubted.set()
                await self._stumbling.pause(error)
            else:
                self._stumbling.recover()

    async def once(self) -> int:
        """Ask now; answers how many leases are gone."""
        jobs = list(self._held())
        places: list[int] = await self._database.fetchval(
            "lost_jobs", self._worker, [job.id for job in jobs], [job.claim for job in jobs]
        )
        for place in places:
            self._lost(jobs[place])
        return len(places)
