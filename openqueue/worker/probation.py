"""Jobs that were with a lost worker begin one after the other: one of them may have killed it.

Each is shown as running just before it begins, so that it is counted if it kills this worker, too; those
that still wait are not. So a job that kills its workers ends alone, and not with its neighbours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from openqueue.errors import OpenQueueError
from openqueue.worker.job import Job

__all__ = ["Probation"]

SURVIVED: Final = 0.25
"""Seconds after which the next one may begin though this one has not ended."""


class Probation:
    """`begins` tells the database that a job begins, and answers whether it may."""

    def __init__(self, begins: Callable[[Job], Awaitable[bool]] | None) -> None:
        self._begins = begins
        self._turn = asyncio.Lock()
        self._last = asyncio.Event()
        self._last.set()

    @asynccontextmanager
    async def of(self, job: Job) -> AsyncIterator[bool]:
        """The attempt goes into the block, once it is its turn; answers whether it may begin."""
        if self._begins is None:
            yield True
            return
        ended = asyncio.Event()
        try:
            yield await self._in_turn(job, ended)
        finally:
            ended.set()

    async def may_begin(self, job: Job) -> bool:
        """Ask the database, without waiting for a turn; not if it cannot be asked.

        The job is doubted from here on until the answer has come: nobody else shows it as running meanwhile,
        which would pass over its deadline.
        """
        if self._begins is None:
            return True
        job.doubted = True
        try:
            may = await self._begins(job)
        except OpenQueueError:
            return False
        job.doubted = not (may or job.lost)
        return may

    async def _in_turn(self, job: Job, ended: asyncio.Event) -> bool:
        async with self._turn:
            with suppress(TimeoutError):
                async with asyncio.timeout(SURVIVED):
                    await self._last.wait()
            may = await self.may_begin(job)
            if not job.doubted:
                self._last = ended
            return may
