"""Notices that all places are taken by attempts which wait for runs that wait for a place.

A task that awaits the result of another run keeps its place. Where all places of a worker do so, and the runs
they wait for are its own to run, nothing goes on until a timeout: unless another worker comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from logging import LogRecord
from typing import TYPE_CHECKING, Final
from uuid import UUID

from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.runs.model import RunInfo
from openqueue.worker.events import PlacesWait

if TYPE_CHECKING:
    from openqueue.worker.inflight import Inflight
    from openqueue.worker.job import Job

__all__ = ["Hear", "OnePlace", "Standstill", "Waits"]

LONGEST_PAUSE: Final = 30.0
"""Seconds between looks while all places go on waiting."""


Hear = Callable[["Job", LogRecord], object]
"""Called with what an attempt has logged, in whichever thread."""


class Waits:
    """Which attempts wait for which runs. `told` is called, in whichever thread, when one begins to."""

    def __init__(self) -> None:
        self.told: Callable[[], object] = lambda: None
        self._waits: dict[Job, list[UUID]] = {}

    def __contains__(self, job: Job) -> bool:
        return job in self._waits

    def of(self, job: Job) -> list[UUID]:
        """The runs that this attempt waits for."""
        return list(self._waits.get(job, ()))

    @contextmanager
    def waiting(self, job: Job, run_id: UUID) -> Iterator[None]:
        """Within the block, the attempt waits for the run; it may do so several times at once."""
        waits = self._waits.setdefault(job, [])
        waits.append(run_id)
        self.told()
        try:
            yield
        finally:
            waits.remove(run_id)
            if not waits:
                self._waits.pop(job, None)


class OnePlace:
    """The place of one attempt; see `tasks.places`. What the attempt leaves running belongs to no other."""

    __slots__ = ("_hear", "_job", "_waits")

    def __init__(self, job: Job, waits: Waits, hear: Hear) -> None:
        self._job = job
        self._waits = waits
        self._hear = hear

    def waiting_for(self, run_id: UUID) -> AbstractContextManager[None]:
        """Within the block, the attempt that runs here now waits for the end of this run."""
        return self._waits.waiting(self._job, run_id)

    def hear(self, record: LogRecord) -> None:
        """The attempt has logged this."""
        self._hear(self._job, record)


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
