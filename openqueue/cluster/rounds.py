"""The rounds of a duty: again and again, and within one as many portions as there are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from openqueue.cluster.events import DutyFailed
from openqueue.errors import OpenQueueError
from openqueue.events import Emit

__all__ = ["portions", "rounds"]

SPREAD: Final = 0.1
"""Pauses are so much longer or shorter: those who started together do not stay together."""


async def rounds(
    once: Callable[[], Awaitable[object]],
    *,
    duty: str,
    every: float,
    emit: Emit,
    spread: float = SPREAD,
    first: float | None = None,
) -> None:
    """Do it every so many seconds, until cancelled; the first time after `first`, or a pause like the others.

    What failed is told of, and tried again with the next round.
    """
    await asyncio.sleep(_about(every, spread) if first is None else first)
    while True:
        try:
            await once()
        except OpenQueueError as error:
            emit(DutyFailed(duty, str(error)))
        await asyncio.sleep(_about(every, spread))


async def portions(one: Callable[[], Awaitable[int]], *, least: int, pause: float = 0.0) -> int:
    """Do it until it did less than the `least` that it does while there is more; answers how much in all.

    `pause`: seconds in between, in which others have the server to themselves.
    """
    total = done = int(await one())
    while done >= least:
        await asyncio.sleep(pause)
        done = int(await one())
        total += done
    return total


def _about(seconds: float, spread: float) -> float:
    return seconds * random.uniform(1 - spread, 1 + spread)
