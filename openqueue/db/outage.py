"""A database that is away, as one process sees it: who gets through again wakes all who wait to try."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["Outage"]


class Outage:
    """What the parts of a process that share a `Database` know together of its absences.

    Each part tries again by itself, with pauses that double; the longest of them would decide how soon work
    goes on after a restart, if the first part that has an answer did not say that it is `over`.
    """

    def __init__(self) -> None:
        self._over = asyncio.Event()

    def over(self) -> None:
        """The database has answered: whoever waits tries now. Called in the event loop of those who wait."""
        self._over.set()
        self._over = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return after so many seconds, or as soon as it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
