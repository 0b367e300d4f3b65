"""The tasks of the benchmark, and the tally in which they note what the process has done so far."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from openqueue.tasks.task import task
from openqueue.worker.events import RunFinished

__all__ = ["QUEUE", "TALLY", "TASKS", "Tally", "idle", "mark", "work"]

QUEUE = "bench"


@dataclass(slots=True)
class Tally:
    """What this process has done.

    Tasks begun, runs whose end is stored, when the first began and the last was stored (monotonic clock),
    and how long jobs waited for their start.
    """

    begun: int = 0
    stored: int = 0
    first: float | None = None
    last: float | None = None
    waits: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """A task begins."""
        if self.first is None:
            self.first = time.monotonic()
        self.begun += 1

    def store(self, _: RunFinished) -> None:
        """The end of a run is stored."""
        self.stored += 1
        self.last = time.monotonic()


TALLY = Tally()


@task(name="bench.idle", queue=QUEUE)
async def idle(number: int = 0) -> None:  # noqa: ARG001  a job has some input
    """Do nothing: what is left is the queue's own cost."""
    TALLY.begin()


@task(name="bench.mark", queue=QUEUE)
async def mark(sent: float) -> None:
    """Note how long ago the caller began to enqueue; the monotonic clock is the whole machine's."""
    TALLY.waits.append(time.monotonic() - sent)
    TALLY.begin()


@task(name="bench.work", queue=QUEUE)
async def work(seconds: float) -> None:
    """Wait for something, as most tasks do."""
    TALLY.begin()
    await asyncio.sleep(seconds)


TASKS = (idle, mark, work)
