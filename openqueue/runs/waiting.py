"""Hearing of the end of a run: by notification where there is one, and by looking, always."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

__all__ = ["Waiting"]

LOOK_EVERY: Final = (0.25, 2.0)
"""Seconds between looks, from the first to the last, doubling: what is heard late is still seen."""


class Waiting:
    """Who waits for which run. Fed with the payloads of the schema's notification channel."""

    def __init__(self) -> None:
        self._events: dict[UUID, set[asyncio.Event]] = defaultdict(set)

    def hear(self, payload: str) -> None:
        """Wake who waits for the runs that a notification names; anything else is not for us."""
        if not self._events or '"done"' not in payload:
            return
        for one in json.loads(payload).get("done", ()):
            for event in self._events.get(UUID(one), ()):
                event.set()

    def look(self) -> None:
        """Wake everyone: notifications may have been missed."""
        for events in self._events.values():
            for event in events:
                event.set()

    async def until_ended(self, run_id: UUID, live: Callable[[], Awaitable[bool]]) -> None:
        """Return once `live` answers false; it is asked at once, when woken, and now and then."""
        event = asyncio.Event()
        self._events[run_id].add(event)
        pause, longest = LOOK_EVERY
        try:
            while await live():
                try:
                    async with asyncio.timeout(pause):
                        await event.wait()
                except TimeoutError:
                    pause = min(pause * 2, longest)
                event.clear()
        finally:
            self._events[run_id].discard(event)
            if not self._events[run_id]:
                del self._events[run_id]
