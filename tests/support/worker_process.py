"""A real worker in a process of its own: started, watched, signalled, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.eventually import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
TASKS = "tests.support.crash_tasks"
PATIENT = os.pathsep.join([str(ROOT), str(Path(__file__).parent / "patient")])
"""The PYTHONPATH of a process that has time."""


class WorkerProcess:
    """`settings` are openqueue's, by their names. What the worker and its tasks tell is in `told`.

    A `patient` one has a minute for what others have a second for: threads that are told to end, the last
    release of its jobs.
    """

    def __init__(
        self,
        dsn: str,
        *,
        once: bool = False,
        patient: bool = False,
        modules: tuple[str, ...] = (TASKS,),
        **settings: Any,
    ) -> None:
        self._arguments = [*(["--once"] if once else []), *modules]
        given = {f"OPENQUEUE_{name.upper()}": str(value) for name, value in settings.items()}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENQUEUE_")}
        path = PATIENT if patient else str(ROOT)
        self._environment = {**clean, "PYTHONPATH": path, "OPENQUEUE_DATABASE_URL": dsn, **given}
        self.told: list[dict[str, Any]] = []
        self.errors = ""
        self._more = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", *self.command),
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=2**24,
        )
        self._readers = [asyncio.create_task(self._read_events()), asyncio.create_task(self._read_errors())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.signal(signal.SIGKILL)
        await self._process.wait()
        if kind is not None:
            self.kill_others()
        await asyncio.gather(*self._readers)
        if kind is not None:
            print(f"worker {self.pid} ended with {self._process.returncode}; it told:")
            print("\n".join(map(str, self.told[-60:])), self.errors[-4000:], sep="\n")

    def kill_others(self) -> None:
        """Kill what it has started and may have left behind: they hold the ends of what is read here."""

    @property
    def command(self) -> list[str]:
        """What Python runs: a module and its arguments."""
        return ["tests.support.worker_main", *self._arguments]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Not by `send_signal`, which looks whether it has ended: then asyncio is not told its exit code."""
        with suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, number)

    def told_to_end(self) -> bool:
        """Send SIGTERM if it is still alive; says whether it has ended."""
        if self.alive:
            self.signal(signal.SIGTERM)
        return not self.alive

    async def ended(self, timeout: float = PATIENCE) -> int:
        """Its exit code, once it has ended; negative for a signal."""
        async with asyncio.timeout(timeout):
            code = await self._process.wait()
        await asyncio.gather(*self._readers)
        return code

    async def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(timeout)

    def heard(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """What was told so far of this kind, with these fields."""
        return [
            one
            for one in self.told
            if one["event"] == event and all(one.get(name) == value for name, value in fields.items())
        ]

    async def wait_for(
        self, event: str, *, count: int = 1, timeout: float = PATIENCE, **fields: object
    ) -> dict[str, Any]:
        """The `count`th event of this kind with these fields, now or as soon as it is told."""
        deadline = time.monotonic() + timeout
        while len(found := self.heard(event, **fields)) < count:
            assert not all(reader.done() for reader in self._readers), (
                f"{event} {fields} was told {len(found)} times, not {count}: the process has ended"
            )
            self._more.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._more.wait()
            except TimeoutError:
                raise AssertionError(
                    f"{event} {fields} was not told {count} times in {timeout:g} s"
                ) from None
        return found[count - 1]

    async def started(self) -> Self:
        """Return once it takes in work."""
        await self.wait_for("WorkerStarted")
        await self.wait_for("ListenerConnected")
        return self

    async def _read_events(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with suppress(ValueError):
                self.told.append(json.loads(line))
            self._more.set()
        self._more.set()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.errors += line.decode(errors="replace")
        self._more.set()


@asynccontextmanager
async def workers(count: int, dsn: str, **settings: Any) -> AsyncIterator[list[WorkerProcess]]:
    """Several at once, all of them started."""
    made = [WorkerProcess(dsn, **{"name": f"worker-{number}", **settings}) for number in range(count)]
    async with AsyncExitStack() as stack:
        for one in made:
            await stack.enter_async_context(one)
        await asyncio.gather(*(one.started() for one in made))
        yield made
