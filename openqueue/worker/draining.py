"""The end of the work there is, and of the pools: what has not begun goes back; what runs has its grace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from openqueue.events import Emit
from openqueue.worker.completer import Completer
from openqueue.worker.control import Control
from openqueue.worker.events import AttemptAbandoned
from openqueue.worker.inflight import Inflight
from openqueue.worker.producer import Producer

__all__ = ["drain", "worked_off"]

STOP_PATIENCE: Final = 2.0
"""Seconds that a cancelled attempt may take to end; then it is left behind."""


async def drain(
    producers: Sequence[Producer], pools: Sequence[Inflight], control: Control, grace: float, emit: Emit
) -> None:
    """Empty the pools, within `grace` and a little more (seconds); nothing is counted as an attempt by it."""
    for producer in producers:
        await producer.stop()
    if await _drained(pools, grace):
        return
    control.stop()
    if not await _drained(pools, STOP_PATIENCE):
        for pool in pools:
            for job in pool.abandon():
                emit(AttemptAbandoned(job.id, job.task))


async def worked_off(completer: Completer, producers: Sequence[Producer]) -> None:
    """Return once all that was claimed is stored and a look everywhere that began after that finds nothing.

    What ends while a look is under way may let others begin (limits, keys) that this look has not seen.
    """
    while True:
        await completer.idle()
        taken = completer.taken
        if completer.claims():
            continue
        found = await asyncio.gather(*(producer.look() for producer in producers))
        if not any(found) and completer.taken == taken:
            return


async def _drained(pools: Sequence[Inflight], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            for pool in pools:
                await pool.drained()
    except TimeoutError:
        return False
    return True
