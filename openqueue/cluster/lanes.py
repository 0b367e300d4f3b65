"""Removes lanes that nobody uses any longer; the theory stands above `sql/engine/lanes.sql`."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Final

from openqueue.cluster.events import LanesRemoved
from openqueue.cluster.rounds import portions, rounds
from openqueue.db.pool import Database
from openqueue.events import Emit

__all__ = ["UnusedLanes"]

EVERY: Final = 3600.0

PAUSES: Final = (0.05, 5.0)
"""Seconds between looks at the transactions that are waited for, doubling."""


class UnusedLanes:
    """Removes lanes that have had no job for `idle`, once an hour, unless there are few (`beyond` rows).

    It waits up to `patience` seconds for the transactions that are open then; where one takes longer, the
    lanes stay until the next time.
    """

    def __init__(
        self,
        database: Database,
        emit: Emit,
        *,
        idle: timedelta = timedelta(hours=1),
        beyond: int = 100,
        patience: float = 300.0,
    ) -> None:
        self._database = database
        self._emit = emit
        self._idle = idle
        self._beyond = beyond
        self._patience = patience

    async def run(self) -> None:
        """Look every hour, until cancelled; not at once, as many may start together."""
        await rounds(self.once, duty="lanes", every=EVERY, emit=self._emit, spread=0.5)

    async def once(self) -> int:
        """Mark what is unused, and remove what has been marked for a while; answers how many rows."""
        marks = await self._database.fetchval("retire_lanes", self._idle, self._beyond)
        if not marks or not await self._nobody_relies_on_them():
            return 0
        removed = await portions(lambda: self._database.fetchval("drop_lanes", marks), least=1)
        if removed:
            self._emit(LanesRemoved(removed))
        return removed

    async def _nobody_relies_on_them(self) -> bool:
        """Whether all transactions have ended that are open now, after the marks were stored."""
        others = await self._database.fetchval("open_transactions")
        until = time.monotonic() + self._patience
        pause, longest = PAUSES
        while await self._database.fetchval("any_open", others):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)
        return True
