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

    Each answer says between which bounds the distance lies: the time it took. What was believed before is
    kept where it lies within them, and moved to the nearer bound where it does not, so that a slow answer
    spoils nothing. It is `doubted` when the database was found to be of another opinion, until it is
    measured again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._zero: datetime | None = None
        self.doubted = False

    async def measure(self) -> None:
        """Ask the database for its time: a few times at first, then once. Raises ConnectionFailed."""
        for _ in range(1 if self._zero else TRIES):
            asked = time.monotonic()
            told: datetime = await self._database.fetchval("database_time")
            earliest = told - timedelta(seconds=time.monotonic())
            latest = told - timedelta(seconds=asked)
            self._zero = min(max(self._zero or earliest + (latest - earliest) / 2, earliest), latest)
        self.doubted = False

    def now(self) -> datetime:
        """The database's time. It has been measured before."""
        return self.at(time.monotonic())

    def at(self, moment: float) -> datetime:
        """The database's time when this process's monotonic clock said this."""
        assert self._zero is not None
        return self._zero + timedelta(seconds=moment)
