"""Keeps the month partitions of the history ahead of time."""

from __future__ import annotations

from typing import Final

from openqueue.cluster.events import PartitionsMade
from openqueue.cluster.rounds import rounds
from openqueue.db.pool import Database
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
        await rounds(self.once, duty="partitions", every=EVERY, emit=self._emit, first=0)

    async def once(self) -> tuple[str, ...]:
        """Make what is missing; answers the names."""
        rows = await self._database.fetch("ensure_partitions", AHEAD)
        made = tuple(row[0] for row in rows)
        if made:
            self._emit(PartitionsMade(made))
        return made
