"""`openqueue schedule backfill`: the runs of times that are past, and how far that is."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from openqueue.cli.output import say, show_json
from openqueue.cli.schedule_values import read_edge
from openqueue.cli.session import client
from openqueue.scheduler.model import Backfilled

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["backfill_from"]


async def backfill_from(
    settings: Settings, key: str, edges: tuple[str, str], limits: tuple[int, int], *, as_json: bool
) -> None:
    """Backfill from one edge to the other; what was done is told also if it is interrupted."""
    seen: list[Backfilled] = []

    def tell(done: Backfilled) -> None:
        seen[:] = [done]
        if sys.stderr.isatty():
            end = "\n" if done.done else ""
            print(f"\r{done.added + done.known} of {done.total}", end=end, file=sys.stderr, flush=True)

    async with client(settings) as opened:
        info = await opened.schedules.get(key)
        zone = ZoneInfo(info.timezone)
        now = await opened.database.fetchval("database_time")
        start = read_edge(edges[0], "--from", zone, now)
        end = read_edge(edges[1], "--to", zone, now, last=True)
        try:
            done = await opened.schedules.backfill(
                key, start, end, rate=limits[0], limit=limits[1], progress=tell
            )
        except asyncio.CancelledError:
            for one in seen:
                say(f"\nInterrupted: {one.added + one.known} of {one.total}. Say it again to go on.")
            raise
    if as_json:
        show_json(done)
    elif not done.total:
        say("The schedule has no time in that range.")
    else:
        print(f"{key}: {done.added} enqueued, {done.known} had a run already, of {done.total} times")
