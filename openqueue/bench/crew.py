"""The workers of a benchmark, each in a process of its own, and what they tell of themselves."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from openqueue.errors import OpenQueueError

__all__ = ["Crew", "crew"]

COMMAND = (sys.executable, "-m", "openqueue", "bench", "--as-worker")
"""How a worker's process is started; see `openqueue.bench.worker`."""

PATIENCE = 60.0
"""Seconds in which a process must have started, or ended."""


class _Member:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: dict[str, Any] = {}
        self.said: deque[str] = deque(maxlen=20)
        self.waits: list[float] = []
        self.is_ready = False

    def hear(self, line: bytes) -> None:
        """A line of its standard output."""
        told = json.loads(line)
        if "ready" in told:
            self.is_ready = True
        else:
            self.told = told
            self.waits += told["waits"]


class Crew:
    """Workers that are started and wait to be told to go."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._members: list[_Member] = []
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._leaving = False

    @property
    def pids(self) -> list[int]:
        """Their processes."""
        return [one.process.pid for one in self._members]

    @property
    def stored(self) -> int:
        """Runs whose end is stored."""
        return sum(one.told.get("stored", 0) for one in self._members)

    @property
    def waits(self) -> list[list[float]]:
        """How long jobs waited for their start, in seconds, for each worker."""
        return [one.waits for one in self._members]

    @property
    def busy(self) -> float:
        """Seconds from the first start of a task to the last end that was stored."""
        firsts = [one.told["first"] for one in self._members if one.told.get("first") is not None]
        lasts = [one.told["last"] for one in self._members if one.told.get("last") is not None]
        return max(lasts) - min(firsts) if firsts and lasts else 0.0

    async def start(self, settings: Sequence[Mapping[str, Any]]) -> None:
        """Start a worker for each; returns once all of them are ready."""
        for own in settings:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is ours to answer
                limit=2**24,
            )
            member = _Member(process)
            self._members.append(member)
            self._readers += [
                asyncio.create_task(self._read(member)),
                asyncio.create_task(self._listen(member)),
            ]
            self._write(member, json.dumps(own))
        async with asyncio.timeout(PATIENCE):
            while not all(one.is_ready for one in self._members):
                await self._changed()

    def go(self) -> None:
        """All of them begin to work."""
        for one in self._members:
            self._write(one, "go")

    async def until_stored(self, count: int) -> None:
        """Return once so many runs have ended, whoever ran them. Raises OpenQueueError if a worker dies."""
        while self.stored < count:
            await self._changed()

    async def stop(self) -> None:
        """Let them finish and end; by force if they do not."""
        self._leaving = True
        for one in self._members:
            assert one.process.stdin is not None
            one.process.stdin.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await asyncio.gather(*(one.process.wait() for one in self._members))
        finally:
            for one in self._members:
                with suppress(ProcessLookupError):
                    one.process.kill()
            await asyncio.gather(*(one.process.wait() for one in self._members), *self._readers)

    async def _changed(self) -> None:
        """Return when something was told. Raises OpenQueueError for a process that has ended."""
        self._news.clear()
        for one in self._members:
            if one.process.returncode is not None:
                said = "\n".join(one.said) or "It said nothing."
                raise OpenQueueError(
                    f"A worker of the benchmark ended (exit code {one.process.returncode}): {said}"
                )
        await self._news.wait()

    def _write(self, member: _Member, line: str) -> None:
        assert member.process.stdin is not None
        member.process.stdin.write(line.encode() + b"\n")

    async def _read(self, member: _Member) -> None:
        assert member.process.stdout is not None
        async for line in member.process.stdout:
            member.hear(line)
            self._news.set()
        await member.process.wait()
        self._news.set()

    async def _listen(self, member: _Member) -> None:
        assert member.process.stderr is not None
        async for line in member.process.stderr:
            member.said.append(line.decode(errors="replace").rstrip())


@asynccontextmanager
async def crew(
    settings: Sequence[Mapping[str, Any]], command: Sequence[str] = COMMAND
) -> AsyncIterator[Crew]:
    """Workers with these settings, ready; gone when the block ends, however it ends."""
    workers = Crew(command)
    try:
        await workers.start(settings)
        yield workers
    finally:
        await workers.stop()
