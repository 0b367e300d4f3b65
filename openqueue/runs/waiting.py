"""Waiting for runs to end: by notification where there is one, and by looking, always.

Whoever waits shares the looks: one statement asks for up to a hundred runs, one after the other, so that any
number of waiters takes one connection at a time and leaves the rest of the pool to others.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from copy import copy
from typing import Any, Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.errors import ConnectionFailed, OpenQueueError
from openqueue.runs.model import Row

__all__ = ["Waiting"]

FIRST_LOOK: Final = 0.25
LAST_LOOK: Final = 2.0
"""Seconds between looks at a run, from the first to the last, doubling: what is heard late is still seen."""

UNMARKED: Final = 0.005
"""The same, at first, for a run that somebody has locked just now: its end will not be told."""

AT_ONCE: Final = 100
"""Runs in a look: their outputs come with the answer."""


class _Waiter:
    """One that waits: for its run's row, or None if there is no such run."""

    __slots__ = ("due", "ended", "pause", "run_id")

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        self.ended: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self.due = 0.0
        self.pause = 0.0

    def later(self, first: float) -> None:
        """Look again after a while, longer each time."""
        self.pause = min(max(first, self.pause * 2), LAST_LOOK)
        self.due = time.monotonic() + self.pause


class Waiting:
    """Who waits for which run. Fed with the payloads of the schema's notification channel."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: dict[UUID, set[_Waiter]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    def hear(self, payload: str) -> None:
        """Look at the runs that a notification says have ended; anything else is not for us."""
        if self._waiters and '"done"' in payload:
            for one in json.loads(payload).get("done", ()):
                self._hurry(self._waiters.get(UUID(one), set()))

    def look(self) -> None:
        """Look at every run: notifications may have been missed."""
        for waiters in self._waiters.values():
            self._hurry(waiters)

    async def ended(self, run_id: UUID, seconds: float | None) -> Row | None:
        """The row of an ended run, once it has ended; None if there is no such run.

        Raises TimeoutError after `seconds`; 0: after one look.
        """
        waiter = _Waiter(run_id)
        if seconds == 0:
            return await self._now(waiter)
        self._waiters[run_id].add(waiter)
        self._wake()
        try:
            async with asyncio.timeout(seconds):
                return await waiter.ended
        finally:
            self._waiters[run_id].discard(waiter)
            if not self._waiters[run_id]:
                del self._waiters[run_id]

    async def close(self) -> None:
        """Stop looking; who still waits is told that the client is closed."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for waiters in self._waiters.values():
            for waiter in waiters:
                _fail(waiter, ConnectionFailed("The client was closed while a result was awaited."))

    async def _now(self, waiter: _Waiter) -> Row | None:
        """What one look of its own says."""
        await self._look([waiter])
        if not waiter.ended.done():
            raise TimeoutError
        return await waiter.ended

    def _hurry(self, waiters: set[_Waiter]) -> None:
        for waiter in waiters:
            waiter.due = 0.0
        if waiters:
            self._wake()

    def _wake(self) -> None:
        self._woken.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._go_on_looking(), name="openqueue:results")

    async def _go_on_looking(self) -> None:
        """Look at what is due, as long as anybody waits."""
        while self._waiters:
            self._woken.clear()
            await asyncio.sleep(0)  # those that begin to wait at the same time look together
            open_ones = [one for waiters in self._waiters.values() for one in waiters if not one.ended.done()]
            now = time.monotonic()
            due = sorted((one for one in open_ones if one.due <= now), key=lambda one: one.due)
            if due:
                await self._look(due[:AT_ONCE])
                continue
            pause = min((one.due for one in open_ones), default=now) - now
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _look(self, waiters: list[_Waiter]) -> None:
        for waiter in waiters:
            waiter.due = float("inf")  # unless it is heard of meanwhile
        try:
            rows = await self._database.fetch("await_runs", list({one.run_id for one in waiters}))
        except OpenQueueError as error:
            for waiter in waiters:
                _fail(waiter, copy(error))  # each raises its own, with its own traceback
            return
        found = {row["id"]: row for row in rows}
        for waiter in waiters:
            _tell(waiter, found.get(waiter.run_id))


def _tell(waiter: _Waiter, row: Any) -> None:
    """What a look says of its run: nothing for one that lives, and whose end will be told."""
    if row is not None and not row["live"]:
        if not waiter.ended.done():
            waiter.ended.set_result(row if row["status"] is not None else None)
    elif waiter.due == float("inf"):
        waiter.later(FIRST_LOOK if row is None else UNMARKED)


def _fail(waiter: _Waiter, error: Exception) -> None:
    if not waiter.ended.done():
        waiter.ended.set_exception(error)
