"""What a worker has around its tasks: middleware, lifespans and their yield, processes, logs, subscribers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from openqueue.events import Events
from openqueue.tasks.captured import Capture
from openqueue.tasks.lifespans import Lifespan, State, living
from openqueue.tasks.middleware import Middleware
from openqueue.worker.processes.orders import refuse_while_loading
from openqueue.worker.processes.pool import Processes
from openqueue.worker.subscribers import attended
from openqueue.worker.traced import AttemptTracer

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Those of one worker; without anything in them, there is nothing around a task.

    `capture_logs` is the least level of what tasks log that is kept with their runs; `tracer` makes spans.
    """

    middleware: tuple[Middleware, ...] = ()
    lifespans: tuple[Lifespan, ...] = ()
    processes: Processes = field(default_factory=Processes)
    state: State = field(default_factory=State)
    capture_logs: Capture = "info"
    tracer: AttemptTracer | None = None

    @asynccontextmanager
    async def open(self, bus: Events) -> AsyncIterator[None]:
        """Within the block subscribers are told, and the lifespans are open. Raises ConfigError."""
        refuse_while_loading()
        async with attended(bus), living(self.lifespans, self.state):
            yield
