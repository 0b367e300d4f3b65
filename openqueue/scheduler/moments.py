"""The database's clock, as this process can tell it without asking each time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final

from openqueue.db.pool import Database

__all__ = ["DatabaseClock"]

TRIES: Final = 5


class DatabaseClock:
    """How far the database's clock is from this process's monotonic one, measured now and then.

    Of a few answers the quickest counts: its middle is the moment meant, to half of what it took.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._zero: datetime | None = None

    async def measure(self) -> None:
        """Ask the database for its time. Raises ConnectionFailed."""
        quickest = float("inf")
        for _ in range(TRIES):
            asked = time.monotonic()
            told: datetime = await self._database.fetchval("database_time")
            took = time.monotonic() - asked
            if took < quickest:
                quickest = took
                self._zero = told - timedelta(seconds=asked + took / 2)

    def now(self) -> datetime:
        """The database's time. It has been measured before."""
        assert self._zero is not None
        return self._zero + timedelta(seconds=time.monotonic())
