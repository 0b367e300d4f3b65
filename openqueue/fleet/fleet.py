"""The parent: keeps its workers alive, stops them when told to, and ends when all have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import random as uniform
from typing import Any, Final, Protocol

from openqueue.backoff import Random
from openqueue.clock import Clock, SystemClock
from openqueue.events import Emit
from openqueue.fleet.health import FactsOfAll, FactsOfOne
from openqueue.fleet.lives import End, Lives, Over, Refused, exit_code
from openqueue.fleet.words import Failure, Word
from openqueue.telemetry.health import Facts
from openqueue.worker.events import WorkerProcessEnded, WorkerProcessKilled, WorkerProcessStarted
from openqueue.worker.stopping import AT_ONCE, LAST_RELEASE

__all__ = ["LAST_WORK", "Fleet", "Process", "Start"]

LAST_WORK: Final = 25.0
"""Seconds beyond its grace that a worker may take to end: cancelled tasks, the last flush, its goodbye."""


class Process(Protocol):
    """A worker's process, as `process.WorkerProcess` is one."""

    ran: bool
    failure: Failure | None

    @property
    def pid(self) -> int: ...
    @property
    def facts(self) -> Facts: ...
    def tell(self, word: Word) -> None: ...
    async def ended(self) -> int: ...
    def kill(self) -> None: ...


Start = Callable[[str], Awaitable[Process]]
"""Starts a worker of this name."""


class _Kept:
    """A worker with all its lives."""

    def __init__(self, name: str, lives: Lives) -> None:
        self.name = name
        self.lives = lives
        self.starts = 0
        self.process: Process | None = None
        self.code = 0

    @property
    def facts(self) -> FactsOfOne:
        process, restarts = self.process, max(0, self.starts - 1)
        if process is None:
            facts = Facts("restarting" if self.starts else "starting", database=None)
            return FactsOfOne(self.name, None, restarts, facts)
        return FactsOfOne(self.name, process.pid, restarts, process.facts)


class Fleet:
    """Workers `name`-1 … `name`-`size`.

    grace      seconds that a worker gives what runs; it is killed `LAST_WORK` later
    refused    told, once, why no worker of these settings can be started: all are stopped then
    once       each has one life, and is over when nothing is ready
    """

    def __init__(
        self,
        name: str,
        size: int,
        start: Start,
        emit: Emit,
        *,
        grace: float,
        refused: Callable[[Failure], None],
        once: bool = False,
        clock: Clock | None = None,
        random: Random = uniform,
    ) -> None:
        self._name = name
        self._start = start
        self._emit = emit
        self._patience = grace + LAST_WORK
        self._refused = refused
        self._clock = clock or SystemClock()
        names = [f"{name}-{number}" for number in range(1, size + 1)]
        self._kept = [_Kept(one, Lives(once=once, random=random)) for one in names]
        self._failure: Failure | None = None
        self._stopping = asyncio.Event()
        self._leaving = asyncio.Event()

    async def run(self) -> int:
        """Until all have ended; answers the exit code."""
        async with asyncio.TaskGroup() as group:
            kept = [group.create_task(self._keep(one), name=f"openqueue:{one.name}") for one in self._kept]
            bound = group.create_task(self._end_in_time())
            await asyncio.wait(kept)
            bound.cancel()
        at_once = AT_ONCE if self._leaving.is_set() else None
        return exit_code((one.code for one in self._kept), at_once=at_once, failure=self._failure)

    def stop(self) -> None:
        """Let every worker finish what it runs; none is started again. Safe to repeat."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._tell(Word.STOP)

    def leave(self) -> None:
        """Let every worker give back what it runs, and end at once."""
        self._stopping.set()
        self._leaving.set()
        self._tell(Word.LEAVE)

    def facts(self) -> FactsOfAll:
        """How all of them are; may be asked from any thread."""
        return FactsOfAll(self._name, self._stopping.is_set(), tuple(one.facts for one in self._kept))

    async def _keep(self, worker: _Kept) -> None:
        """All lives of one worker."""
        while not self._stopping.is_set():
            end = await self._live(worker)
            follows = worker.lives.after(end, stopping=self._stopping.is_set())
            if isinstance(follows, Refused):
                self._refuse(follows.failure)
            elif isinstance(follows, Over):
                worker.code = follows.code
                if follows.code not in (0, AT_ONCE):
                    self._emit(_ended(worker.name, end, None))
                return
            else:
                self._emit(_ended(worker.name, end, follows.delay))
                await self._either(self._clock.sleep(follows.delay), self._stopping.wait())

    async def _live(self, worker: _Kept) -> End:
        """One life."""
        began = self._clock.monotonic()
        worker.starts += 1
        try:
            process = await self._start(worker.name)
        except OSError as error:
            return End(None, 0.0, failure=Failure(1, (str(error),), heals=True))
        worker.process = process
        self._emit(WorkerProcessStarted(worker.name, process.pid))
        if self._stopping.is_set():
            process.tell(Word.LEAVE if self._leaving.is_set() else Word.STOP)
        try:
            code = await process.ended()
        finally:
            worker.process = None
        return End(code, self._clock.monotonic() - began, process.ran, process.failure)

    def _refuse(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
            self._refused(failure)
        self.stop()

    def _tell(self, word: Word) -> None:
        for one in self._kept:
            if one.process is not None:
                one.process.tell(word)

    async def _end_in_time(self) -> None:
        """Once told to stop: kill what has not ended in time."""
        await self._stopping.wait()
        await self._either(self._clock.sleep(self._patience), self._leaving.wait())
        if self._leaving.is_set():
            await self._clock.sleep(2 * LAST_RELEASE)
        for one in self._kept:
            if one.process is not None:
                self._emit(WorkerProcessKilled(one.name, one.process.pid))
                one.process.kill()

    async def _either(self, *waits: Coroutine[Any, Any, object]) -> None:
        tasks = [asyncio.ensure_future(one) for one in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in tasks:
                one.cancel()


def _ended(name: str, end: End, delay: float | None) -> WorkerProcessEnded:
    said: Sequence[str] = end.failure.said if end.failure else ()
    return WorkerProcessEnded(name, end.how, delay, "; ".join(said) or None)
