"""Processes for tasks with `executor="process"`: started when first needed, used again, and really ended.

Each is a Python of its own, started anew (never forked), that imports the task's module and does one attempt
at a time over a socket. So a timeout and a cancellation end it, with the programs it has started; one that
dies takes nobody with it. How many there are is bounded by the worker: an attempt without a place waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

from openqueue.tasks.surrounding import Preparation, preparations
from openqueue.tasks.task import Task
from openqueue.worker.processes.task_process import TaskProcess, in_time

__all__ = ["MOST_RUNS", "Processes"]

MOST_RUNS: Final = 1_000
"""Attempts after which a process is replaced, so that what leaks in it is bounded."""

IDLE: Final = 300.0
"""Seconds without work after which a process ends."""


class Processes:
    """Those of one worker. Belongs to the event loop in which it is used."""

    def __init__(
        self, prepare: Iterable[Preparation] = (), *, most_runs: int = MOST_RUNS, idle: float = IDLE
    ) -> None:
        self._prepare = tuple(prepare)
        self._most_runs = most_runs
        self._idle_time = idle
        self._idle: list[tuple[TaskProcess, asyncio.TimerHandle]] = []
        self._busy: set[TaskProcess] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """The processes there are, those on their way out left out."""
        return [one.pid for one in (*self._busy, *(one for one, _ in self._idle))]

    async def take(self, task: Task[..., Any]) -> TaskProcess:
        """A process that has imported this task: one that is free, or a new one.

        Raises what the import raises, ProcessDied for one that does not come to life, and InvalidTask.
        """
        process = self._free() or await TaskProcess.start((*preparations(), *self._prepare))
        self._busy.add(process)
        try:
            async with in_time(process.pid, f"import {task.name}"):
                await process.load(task)
        except BaseException:
            self.put_back(process)
            raise
        return process

    def put_back(self, process: TaskProcess) -> None:
        """Its attempt is over: it is kept for the next one, unless it is busy still, dead, or old."""
        self._busy.discard(process)
        if process.busy:
            self._leave(process.kill())
        elif not process.alive or process.runs >= self._most_runs:
            self._leave(process.retire())
        else:
            loop = asyncio.get_running_loop()
            self._idle.append((process, loop.call_later(self._idle_time, self._retire_idle, process)))

    async def aclose(self) -> None:
        """End them all; what still runs is killed."""
        for process, timer in self._idle:
            timer.cancel()
            self._leave(process.retire())
        for process in self._busy:
            self._leave(process.kill())
        self._idle.clear()
        self._busy.clear()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _free(self) -> TaskProcess | None:
        while self._idle:
            process, timer = self._idle.pop()
            timer.cancel()
            if process.alive:
                return process
            self._leave(process.retire())
        return None

    def _retire_idle(self, process: TaskProcess) -> None:
        self._idle = [one for one in self._idle if one[0] is not process]
        self._leave(process.retire())

    def _leave(self, going: Coroutine[Any, Any, None]) -> None:
        leaving = asyncio.create_task(going)
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
