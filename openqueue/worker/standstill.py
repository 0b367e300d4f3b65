"""Notices that all places are taken by attempts which wait for runs that wait for a place.

A task that awaits the result of another run keeps its place. Where all places of a worker do so, and the runs
they wait for are its own to run, nothing goes on until a timeout: unless another worker comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final
from uuid import UUID

from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.runs.model import RunInfo
from openqueue.worker.events import PlacesWait
from openqueue.worker.inflight import Inflight

__all__ = ["Standstill"]

LONGEST_PAUSE: Final = 30.0
"""Seconds between looks while all places go on waiting."""


class Standstill:
    """Emits PlacesWait once all places of a pool have waited in vain for `patience` seconds, once each time.

    `get` reads a run; `tasks` and `queues` (None: all) are what the pool works on.
    """

    def __init__(
        self,
        pool: Inflight,
        tasks: Collection[str],
        queues: Collection[str] | None,
        get: Callable[[UUID], Awaitable[RunInfo]],
        emit: Emit,
        patience: float,
    ) -> None:
        self._pool = pool
        self._get = get
        self._emit = emit
        self._tasks = frozenset(tasks)
        self._queues = queues
        self._patience = patience
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._woken.set)

        self._pool.waits.told = wake
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self._while_all_wait()

    async def _while_all_wait(self) -> None:
        pause, is_told = self._patience, False
        while self._all_wait():
            await asyncio.sleep(pause)
            with suppress(OpenQueueError):  # it is asked again
                if not is_told and (waits := await self.once()):
                    is_told = True
                    self._emit(waits)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def once(self) -> PlacesWait | None:
        """What is to be told, if each attempt waits only for runs that have no place but one of these."""
        if not self._all_wait():
            return None
        jobs = list(self._pool.running)
        for job in jobs:
            for run_id in self._pool.waits.of(job):
                if not await self._needs_a_place(run_id):
                    return None
        if not self._all_wait() or set(jobs) != set(self._pool.running):
            return None
        run_ids = self._pool.waits.of(jobs[0])
        return PlacesWait(len(jobs), jobs[0].task, jobs[0].id, run_ids[0]) if run_ids else None

    def _all_wait(self) -> bool:
        running = self._pool.running
        return len(running) >= self._pool.concurrency and all(job in self._pool.waits for job in running)

    async def _needs_a_place(self, run_id: UUID) -> bool:
        if self._pool.find(run_id):
            return True
        run = await self._get(run_id)
        is_ours = run.task in self._tasks and (self._queues is None or run.queue in self._queues)
        return run.status == "queued" and is_ours
