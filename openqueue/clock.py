"""Time as services see it, so that tests can bring their own."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "DatabaseTime", "SystemClock"]


class Clock(Protocol):
    """What a service may ask of time. Wall-clock time is never asked here: that is the database's."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds; zero or less yields to other tasks once."""
        ...


class SystemClock:
    """The machine's own clock."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class DatabaseTime:
    """What time it is in the database, by its last answer: the wall clock of this machine may be wrong.

    `zero` is what the database's clock said, in seconds since 1970, when the monotonic one said 0; None until
    it has been `measured`. Measured in one thread, it may be read in all.
    """

    def __init__(self) -> None:
        self.zero: float | None = None

    def measured(self, told: datetime, asked: float) -> None:
        """The database was asked at this moment of the monotonic clock, and its answer is here now."""
        self.zero = told.timestamp() - (asked + time.monotonic()) / 2

    def now(self) -> datetime | None:
        """Its time; None: nothing is known of it."""
        return None if self.zero is None else datetime.fromtimestamp(self.zero + time.monotonic(), UTC)

    def until(self, moment: datetime) -> timedelta | None:
        """How long until then, less than nothing if it has passed; None: nobody knows."""
        now = self.now()
        return None if now is None else moment - now
