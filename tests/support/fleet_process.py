"""`openqueue worker --processes N` as a process; what it, its workers and their tasks say is in `told`."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from typing import Any, Self

from tests.support.worker_process import TASKS, WorkerProcess


class FleetProcess(WorkerProcess):
    """Log lines are told as they are written, in JSON; `lines` are all of standard error."""

    def __init__(self, dsn: str, processes: int, *flags: str, modules: str = TASKS, **settings: Any) -> None:
        super().__init__(dsn, **{"name": "w", "log_format": "json", "log_level": "debug", **settings})
        self._environment["OPENQUEUE_MODULES"] = modules
        self.lines: list[str] = []
        self._flags = ["--processes", str(processes), *flags]
        self._size = processes

    @property
    def command(self) -> list[str]:
        return ["openqueue", "worker", *self._flags]

    async def started(self) -> Self:
        """Return once each worker takes in work."""
        for number in range(1, self._size + 1):
            await self.wait_for("worker started", process=f"w-{number}")
        return self

    def kill_others(self) -> None:
        for one in self.heard("worker process started"):
            with suppress(ProcessLookupError):
                os.kill(one["pid"], signal.SIGKILL)

    def pid_of(self, name: str) -> int:
        """The process of this worker, the latest."""
        pid: int = self.heard("worker process started", name=name)[-1]["pid"]
        return pid

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode(errors="replace"))
            self.errors += self.lines[-1]
            with suppress(ValueError):
                self.told.append(json.loads(line))
            self._more.set()
        self._more.set()
