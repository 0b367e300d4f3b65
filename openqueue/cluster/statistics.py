"""Adds up what workers have told: by the minute, the hour and the day. The theory: `sql/engine/stats.sql`."""

from __future__ import annotations

import random
from typing import Final

from openqueue.cluster.rounds import portions, rounds
from openqueue.db.pool import Database
from openqueue.events import Emit

__all__ = ["Statistics"]

EVERY: Final = 60.0
AT_ONCE: Final = 5_000
FORGET_EVERY: Final = 60
"""Rounds between looks for what is too old."""


class Statistics:
    """Adds up once a minute, for one namespace: a duty of the one who leads."""

    def __init__(self, database: Database, namespace: str, emit: Emit) -> None:
        self._database = database
        self._namespace = namespace
        self._emit = emit
        self._rounds = random.randrange(FORGET_EVERY)

    async def run(self) -> None:
        """Add up every minute, until cancelled."""
        await rounds(self.once, duty="statistics", every=EVERY, emit=self._emit)

    async def once(self) -> int:
        """Add up all that there is; answers how many rows that was."""
        total = await portions(
            lambda: self._database.fetchval("roll_up_stats", self._namespace, AT_ONCE), least=AT_ONCE
        )
        self._rounds = (self._rounds + 1) % FORGET_EVERY
        if not self._rounds:
            await self._database.fetchval("forget_stats", self._namespace)
        return total
