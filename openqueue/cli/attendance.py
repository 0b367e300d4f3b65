"""Whether a worker is there for a run that somebody waits for, and what is said if none is.

Workers do not say one by one what they know: all of a kind publish the same tasks when they start. So a task
that was last published before a worker started is not known to that worker. (The other way round is not
certain: then nothing is said.)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from openqueue.cli.output import say
from openqueue.errors import OpenQueueError

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.model import Run

__all__ = ["telling_who_is_missing", "who_is_missing"]

LOOK_EVERY = 5.0
"""Seconds between looks for workers."""

_WAITING = {"scheduled", "queued", "retrying"}

Row = Mapping[str, Any]


def who_is_missing(
    task: str, queue: str, workers: Iterable[Row], catalog: Iterable[Row], *, silence: float
) -> str | None:
    """Why nobody is there for a run of this task, and what to do; None if somebody may be. Pure.

    `workers` and `catalog` are what the queries of these names answer. Who has not beaten for `silence`
    seconds is not alive.
    """
    alive = [one for one in workers if one["beat_age"] < silence and one["state"] != "draining"]
    if not alive:
        return "No worker is alive: the run waits for one. Start it: openqueue worker (or openqueue dev)"
    published = [one["seen_at"] for one in catalog if _is_called(task, one)]
    knowing = [one for one in alive if published and one["started_at"] <= max(published)]
    if not knowing:
        return (
            f"None of the workers that are alive ({len(alive)}) has the task {task}: the run waits for one"
            " that has. Check the name, or start one where the task is: openqueue worker"
        )
    if all(one["queues"] and queue not in one["queues"] for one in knowing):
        return (
            f"No worker that is alive and has the task works on queue {queue!r}: the run waits for one that"
            f" does. Start it: openqueue worker --queue {queue}"
        )
    return None


@asynccontextmanager
async def telling_who_is_missing(client: Client, run: Run[Any], silence: float) -> AsyncIterator[None]:
    """Within the block, say it when nobody is there for a run that waits, once each time that comes about."""
    import asyncio

    told: str | None = None

    async def look() -> None:
        nonlocal told
        info = await run.info()
        missing = None
        if info.status in _WAITING:
            workers, catalog = [
                [dict(row) for row in await client.database.fetch(name, client.namespace)]
                for name in ("workers", "catalog")
            ]
            missing = who_is_missing(info.task, info.queue, workers, catalog, silence=silence)
        if missing and missing != told:
            say(missing)
        told = missing

    async def keep_looking() -> None:
        while True:
            with suppress(OpenQueueError):  # whoever waits for the result hears of it
                await look()
            await asyncio.sleep(LOOK_EVERY)

    looking = asyncio.create_task(keep_looking())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


def _is_called(task: str, entry: Row) -> bool:
    return task == entry["task"] or task in json.loads(entry["options"]).get("aliases", ())
