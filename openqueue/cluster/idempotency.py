"""Forgets idempotency keys whose time is over. What is used again, an enqueue replaces itself."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from openqueue.cluster.events import DutyFailed
from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit

__all__ = ["ExpiredKeys"]

EVERY: Final = 600.0
AT_ONCE: Final = 10_000
"""Rows in a statement: one takes some 20 ms."""


class ExpiredKeys:
    """Removes expired idempotency keys, every ten minutes: not in the transactions of those who enqueue."""

    def __init__(self, database: Database, emit: Emit, *, at_once: int = AT_ONCE) -> None:
        self._database = database
        self._emit = emit
        self._at_once = at_once

    async def run(self) -> None:
        """Look every ten minutes, until cancelled; not at once, as many may start together."""
        while True:
            await asyncio.sleep(EVERY * random.uniform(0.5, 1.5))
            try:
                await self.once()
            except OpenQueueError as error:
                self._emit(DutyFailed("idempotency", str(error)))

    async def once(self) -> int:
        """Remove all there are; answers how many."""
        removed = gone = int(await self._database.fetchval("forget_idempotency", self._at_once))
        while gone == self._at_once:
            gone = int(await self._database.fetchval("forget_idempotency", self._at_once))
            removed += gone
        return removed
