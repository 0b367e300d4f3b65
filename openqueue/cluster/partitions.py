"""Keeps the month partitions of the history ahead of time."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from openqueue.cluster.events import DutyFailed, PartitionsMade
from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit

__all__ = ["Partitions"]

AHEAD: Final = 2
EVERY: Final = 3600.0


class Partitions:
    """Makes the next months' partitions, once an hour; two months ahead there is time to fail."""

    def __init__(self, database: Database, emit: Emit) -> None:
        self._database = database
        self._emit = emit

    async def run(self) -> None:
        """Look now and every hour, until cancelled."""
        while True:
            try:
                await self.once()
            except OpenQueueError as error:
                self._emit(DutyFailed("partitions", str(error)))
            await asyncio.sleep(EVERY * random.uniform(0.9, 1.1))

    async def once(self) -> tuple[str, ...]:
        """Make what is missing; answers the names."""
        rows = await self._database.fetch("ensure_partitions", AHEAD)
        made = tuple(row[0] for row in rows)
        if made:
            self._emit(PartitionsMade(made))
        return made
