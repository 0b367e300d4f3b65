"""Forgets idempotency keys whose time is over. What is used again, an enqueue replaces itself."""

from __future__ import annotations

from typing import Final

from openqueue.cluster.rounds import portions, rounds
from openqueue.db.pool import Database
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
        await rounds(self.once, duty="idempotency", every=EVERY, emit=self._emit, spread=0.5)

    async def once(self) -> int:
        """Remove all there are; answers how many."""
        return await portions(
            lambda: self._database.fetchval("forget_idempotency", self._at_once), least=self._at_once
        )
