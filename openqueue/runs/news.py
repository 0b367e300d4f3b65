"""`client.events(task=…)`: what happens to runs, as it happens, whichever process it happens in.

Rounds of `watching` make sure that nothing of the runs that are followed is missed, also after the database
was away; a notification only makes the next round come sooner. Events of one run come in their order; those
of several by their times within a round, and one that was committed late comes in a later round.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypedDict

from openqueue.db.pool import Database
from openqueue.durations import Duration, parse_duration
from openqueue.errors import ConnectionFailed, InvalidOption, did_you_mean
from openqueue.events import Unsubscribe
from openqueue.runs.filter import RunFilter
from openqueue.runs.model import RunEvent, RunInfo
from openqueue.runs.watching import Watch

__all__ = ["KINDS", "Choice", "Hear", "news"]

KINDS: Final = (
    *("enqueued", "started", "progress", "log", "retried", "snoozed", "released", "lost"),
    *("completed", "failed", "cancelled", "expired"),
)
"""What events are called."""

SOONEST: Final = 0.05
"""Seconds between rounds at least, however many notifications come."""

PAUSES: Final = (0.2, 5.0)
"""Seconds until the next try while the database is away, doubling."""

Hear = Callable[[Callable[[str], object]], Awaitable[Unsubscribe]]
"""Has every notification handed to a callback from now on."""


class Choice(TypedDict, total=False):
    """Which events: of runs of a task, a queue, a schedule, with this meta and any of these tags.

    kinds   only these: ("completed", "failed"); by default all
    every   the latest after which is looked, whatever is heard; 500 ms
    """

    task: str
    queue: str
    schedule: str
    meta: Mapping[str, Any]
    tags: tuple[str, ...]
    kinds: tuple[str, ...]
    every: Duration


def news(
    database: Database, namespace: str, hear: Hear, chosen: Choice
) -> AsyncIterator[tuple[RunInfo, RunEvent]]:
    """The events, until the iterator is closed. Raises InvalidOption, at once, for what cannot be chosen."""
    said: dict[str, Any] = dict(chosen)
    kinds = _kinds(said.pop("kinds", ()))
    every = parse_duration(said.pop("every", 0.5), field="every", allow_zero=False).total_seconds()
    unknown = next((name for name in said if name not in Choice.__annotations__), None)
    if unknown is not None:
        near = did_you_mean(unknown, Choice.__annotations__)
        raise InvalidOption(f"events: there is no option {unknown!r}.{near}", option=unknown)
    return _told(Watch(database, namespace, RunFilter(**said)), hear, kinds, every)


async def _told(
    watch: Watch, hear: Hear, kinds: frozenset[str], every: float
) -> AsyncIterator[tuple[RunInfo, RunEvent]]:
    heard = asyncio.Event()
    stop = await hear(lambda _payload: heard.set())
    pause, longest = PAUSES
    is_begun = False
    try:
        while True:
            try:
                if not is_begun:
                    await watch.begin()
                    is_begun = True
                lines = await watch.once()
            except ConnectionFailed:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
                continue
            pause = PAUSES[0]
            for run, event in lines:
                if not kinds or event.event in kinds:
                    yield run, event
            await asyncio.sleep(min(SOONEST, every))
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await heard.wait()
            heard.clear()
    finally:
        stop()


def _kinds(given: Any) -> frozenset[str]:
    if isinstance(given, str):
        given = (given,)
    for one in given:
        if one not in KINDS:
            near = did_you_mean(str(one), KINDS) or f" There are {', '.join(KINDS)}."
            raise InvalidOption(f"kinds: there is no event {one!r}.{near}", option="kinds")
    return frozenset(given)
