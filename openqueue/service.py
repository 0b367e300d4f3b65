"""Services: the long-lived parts of the daemon, all of one shape.

A service is a noun with `run()`, which goes on until it is cancelled, and, where it repeats, with
`once()`, which does one round and returns what it did. `run()` is then one loop over `ticks`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from random import random as uniform
from typing import Protocol

from openqueue.clock import Clock, SystemClock

__all__ = ["Service", "running", "ticks"]


class Service(Protocol):
    """A part that runs until it is cancelled."""

    async def run(self) -> None:
        """Do this service's work until cancelled; an exception that leaves it ends the daemon."""
        ...


async def ticks(
    every: timedelta | float,
    jitter: float = 0.0,
    *,
    at_once: bool = True,
    clock: Clock | None = None,
    random: Callable[[], float] = uniform,
) -> AsyncIterator[int]:
    """Yield 0, 1, 2 … one `every` (a timedelta or seconds) apart, however long the rounds take.

    Each wait varies by ± `jitter` (a share: 0.1 is ten per cent). A round that takes longer than
    `every` is followed by the next one at once; missed ticks are not made up for. With `at_once`
    false the first tick comes after the first wait.
    """
    clock = clock or SystemClock()
    period = every.total_seconds() if isinstance(every, timedelta) else every
    due = clock.monotonic()
    number = 0
    while True:
        if number or not at_once:
            due = max(due + period * (1 + jitter * (2 * random() - 1)), clock.monotonic())
            await clock.sleep(due - clock.monotonic())
        yield number
        number += 1


@asynccontextmanager
async def running(*services: Service) -> AsyncIterator[None]:
    """Run the services beside the body; on leaving it, cancel them and wait until they have ended.

    A service that raises cancels the body, and its exception (not a group of one) leaves the
    `async with`. A service that returns has simply ended.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run(), name=f"openqueue:{type(one).__name__}") for one in services]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from errors.exceptions[0].__cause__
        raise
