"""Returns the jobs of dead workers to their queues."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from openqueue.cluster.events import DutyFailed, RunRescued, WorkerSuspected
from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit

__all__ = ["Rescued", "Rescuer"]

ALONE: Final = 30.0
"""Seconds between looks while no other worker is known (claims without any worker are still found)."""


@dataclass(frozen=True, slots=True)
class Rescued:
    """What one look did: the runs taken from the dead, and the seconds until a suspect's next look."""

    runs: tuple[UUID, ...]
    again_in: float | None


class Rescuer:
    """Looks for dead workers, at random moments.

    Dead is who has not held its liveness lock for `gone` without a beat, or has not beaten for
    `frozen` though its session lives; by the database's clock. Safe to run everywhere at once: each dead
    worker is taken by one rescuer. `others` says how many other workers there are.
    """

    def __init__(
        self,
        database: Database,
        worker: UUID,
        emit: Emit,
        *,
        others: Callable[[], int],
        gone: timedelta = timedelta(seconds=3),
        frozen: timedelta = timedelta(seconds=60),
        every: float = 1.6,
    ) -> None:
        self._database = database
        self._worker = worker
        self._emit = emit
        self._others = others
        self._gone = gone
        self._frozen = frozen
        self._every = every
        self._failing = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            again: float | None = None
            try:
                again = (await self.once()).again_in
                self._failing = False
            except OpenQueueError as error:
                if not self._failing:
                    self._emit(DutyFailed("rescue", str(error)))
                self._failing = True
            await self._wait(again)

    async def once(self) -> Rescued:
        """One look; an event for each run rescued and each worker newly suspected."""
        rows = await self._database.fetch("rescue", self._worker, self._gone, self._frozen)
        runs: list[UUID] = []
        again: list[float] = []
        for row in rows:
            if row["id"] is None:
                again.append(float(row["verdict"]) / 1000)
                self._emit(WorkerSuspected(row["worker"], row["worker_name"]))
            else:
                runs.append(row["id"])
                self._emit(
                    RunRescued(row["id"], row["task"], row["verdict"], row["worker"], row["worker_name"])
                )
        return Rescued(tuple(runs), min(again, default=None))

    async def _wait(self, again: float | None) -> None:
        """Until a suspect's next look, or for a while: longer while no other worker is known."""
        if again is not None:
            await asyncio.sleep(again + 0.05)
            return
        waited = 0.0
        while waited == 0.0 or (not self._others() and waited < ALONE):
            pause = self._every * random.uniform(0.9, 1.1)
            await asyncio.sleep(pause)
            waited += pause
