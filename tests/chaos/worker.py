"""A real `openqueue worker`, in a process and a directory of its own, its log in a file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.support.eventually import PATIENCE, eventually

__all__ = ["ROOT", "Worker"]

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """`settings` are openqueue's, by their names; `code`: where its openqueue comes from.

    `within`: a command that runs it somewhere else, such as in a network of its own, as the same process;
    `environment`: what else is set there.
    """

    def __init__(
        self,
        directory: Path,
        dsn: str,
        effects: str,
        *,
        code: Path = ROOT,
        within: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        given = {f"OPENQUEUE_{name.upper()}": str(value) for name, value in settings.items()}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENQUEUE_")}
        self.log = directory / f"{settings['name']}.log"
        self.name: str = settings["name"]
        self.doomed = False
        """Whether somebody is about to kill it, so that it need not end well."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-m", "openqueue", "worker"],
                cwd=directory,
                env={
                    **clean,
                    "PYTHONPATH": str(code),
                    "OPENQUEUE_DATABASE_URL": dsn,
                    "OPENQUEUE_LOG_FORMAT": "json",
                    "CHAOS_DATABASE": effects,
                    **given,
                    **(environment or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.began = time.time()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def id(self) -> UUID | None:
        """Its id, as it told when it started."""
        started = self.told("worker started")
        return UUID(started[-1]["worker"]) if started else None

    def told(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of its log, or those of one event."""
        lines = []
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if event is None or line.get("event") == event]

    async def begun(self) -> bool:
        """Return once it takes in work: true, or has ended before."""
        await eventually(lambda: self.id or not self.alive, every=0.02, what=f"{self.name} has started")
        return self.id is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still is there."""
        with suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.doomed = True
        self.signal(signal.SIGKILL)

    async def ended(self, timeout: float = PATIENCE) -> int:
        """Its exit code, once it has ended."""
        await eventually(lambda: not self.alive, timeout=timeout, every=0.02, what=f"{self.name} has ended")
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(timeout)

    async def end(self) -> None:
        """Nothing of it is left."""
        self.kill()
        await asyncio.to_thread(self.process.wait)

    def tail(self) -> str:
        """The end of its log."""
        return f"--- {self.name} ({self.process.poll()})\n" + self.log.read_text(errors="replace")[-3000:]
