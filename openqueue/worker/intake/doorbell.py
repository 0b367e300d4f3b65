"""When to be told of new jobs, and when to look for oneself.

A NOTIFY in every enqueue makes all writers queue up behind each other's commits, so one is sent only while a
bell is on: while jobs arrive rarely and this process waits for them. Then each starts at once. When they come
thick the bell goes off and the producers look every few milliseconds. An enqueue that was open when the
bell went on neither rings nor is seen, so for a second after that the producers sweep a few times.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.worker.events import BellChanged
from openqueue.worker.stumbling import Stumbling

__all__ = ["Doorbell", "wants_bell"]

BUSY: Final = 100.0
QUIET: Final = 50.0
"""Arrivals a second above which the bell goes off, and below which it goes on again."""

AFTER_ON: Final = (0.05, 0.2, 1.0)
"""Seconds after the bell went on at which the producers sweep."""

LOOK_EVERY: Final = 1.0
"""Seconds between decisions: so often at most the bell's row is written."""

Heard = Callable[[Sequence[Sequence[Any]] | None, float | None, str | None], None]
"""Called with the lanes that became ready (None: look everywhere), the seconds until a job is due."""


def wants_bell(on: bool, rate: float, saturated: bool) -> bool:
    """Whether the bell should be on, given if it is, the arrivals a second, and if every place is taken."""
    if saturated:
        return False
    return rate < (BUSY if on else QUIET)


class Doorbell:
    """One worker's bell for the queues it serves (None: all), and what it hears of them."""

    def __init__(
        self, database: Database, worker: UUID, namespace: str, queues: Sequence[str] | None, emit: Emit
    ) -> None:
        self._database = database
        self._worker = worker
        self._namespace = namespace
        self._queues = list(queues) if queues else ["*"]
        self._emit = emit
        self._stumbling = Stumbling("doorbell", emit, database.outage)
        self._hearing: list[Heard] = []
        self._saturated: list[Callable[[], bool]] = []
        self._newest: tuple[float, int] | None = None
        self._returned = 0
        self._rate = 0.0
        self.on = False

    def join(self, heard: Heard, saturated: Callable[[], bool]) -> None:
        """A producer listens, and says whether all of its places are taken."""
        self._hearing.append(heard)
        self._saturated.append(saturated)

    def note(self, newest: int, returned: int = 0) -> None:
        """The last seq that was given out, as a claim saw it: its growth is the arrivals.

        `returned` jobs of the claim came from gates: they arrive, too, with the seq that they had.
        """
        now = time.monotonic()
        self._returned += returned
        if self._newest is None:
            self._newest = (now, newest)
            return
        since, before = self._newest
        if now - since >= 0.25:
            rate = (max(0, newest - before) + self._returned) / (now - since)
            self._rate += (0.7 if rate > self._rate else min(1.0, (now - since) / 2)) * (rate - self._rate)
            self._newest, self._returned = (now, newest), 0

    def hear(self, payload: str) -> None:
        """A notification of the schema's channel."""
        if '"ready"' not in payload and '"due_in"' not in payload:
            return
        told = json.loads(payload)
        if told.get("namespace") != self._namespace:
            return
        ready = told.get("ready")
        due = told.get("due_in")
        if ready == [] and due is None:
            self._returned += 1  # a gate may open, for at least one
        for heard in self._hearing:
            heard(None if ready == "*" else ready or (), due, told.get("control"))

    def look(self) -> None:
        """Notifications may have been missed: everyone looks for themselves."""
        for heard in self._hearing:
            heard(None, None, None)

    async def run(self) -> None:
        """Decide once a second, until cancelled."""
        while True:
            try:
                changed_on = await self.once()
            except OpenQueueError as error:
                await self._stumbling.pause(error)
                continue
            self._stumbling.recover()
            if changed_on:
                await self._sweep_after_on()
            else:
                await asyncio.sleep(LOOK_EVERY)

    async def once(self) -> bool:
        """Turn the bell as it should be; says whether it was turned on now."""
        wanted = wants_bell(
            self.on, self._rate, bool(self._saturated) and all(one() for one in self._saturated)
        )
        if wanted == self.on:
            return False
        await self._database.fetchval(
            "set_bells", self._worker, self._namespace, self._queues if wanted else []
        )
        self.on = wanted
        self._emit(BellChanged(wanted, self._rate))
        return wanted

    def doubt(self) -> None:
        """The row may be gone (the worker had been given up): it is written anew, within a second."""
        self.on = False

    async def _sweep_after_on(self) -> None:
        waited = 0.0
        for moment in AFTER_ON:
            await asyncio.sleep(moment - waited)
            waited = moment
            self.look()
