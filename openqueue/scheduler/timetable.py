"""Which schedules are due when: a heap of times to fire, and one of times to plan ahead. No clock in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Final

from openqueue.scheduler.entry import Entry

__all__ = ["AHEAD", "Timetable"]

AHEAD: Final = timedelta(seconds=10)
"""How long before its time a tick is planned, so that when it is due there is nothing left but to say so."""

AT_ONCE: Final = 100
"""How many of which nothing was computed yet are taken at a time: that takes a while, and others are due."""

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)

_Place = tuple[datetime, int, Entry]


class Timetable:
    """The schedules of a namespace by key. An entry that was replaced is passed over when its time comes."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.waiting: set[str] = set()
        """Keys of those of which a tick waits for the run before it."""
        self._new: deque[Entry] = deque()
        self._due: list[_Place] = []
        self._soon: list[_Place] = []
        self._number = count()

    def put(self, entry: Entry, now: datetime, *, after: timedelta | None = None) -> None:
        """Keep an entry, to be looked at when it is due, but not before `after` has passed."""
        self.entries[entry.key] = entry
        (self.waiting.add if entry.waits else self.waiting.discard)(entry.key)
        at = entry.due_at(now)
        if at is None:
            return
        if entry.next_at is None and at == now and after is None:
            self._new.append(entry)
            return
        if after is not None:
            at = max(at, now + after)
        number = next(self._number)
        heappush(self._due, (at, number, entry))
        if at > now:
            heappush(self._soon, (at - AHEAD, number, entry))

    def drop(self, key: str) -> None:
        """Forget a schedule."""
        self.entries.pop(key, None)
        self.waiting.discard(key)

    def due(self, now: datetime) -> list[Entry]:
        """Take those whose time has come, in order, and some of those whose next time is not known yet."""
        found = list(self._taken(self._due, now))
        new = [self._new.popleft() for _ in range(min(AT_ONCE, len(self._new)))]
        return found + [entry for entry in new if self.entries.get(entry.key) is entry]

    def soon(self, now: datetime) -> Iterator[Entry]:
        """Take, one by one, those that may be planned now."""
        return self._taken(self._soon, now)

    def next_at(self) -> datetime | None:
        """When something is due, or to be planned."""
        if self._new:
            return BEGINNING
        for heap in (self._due, self._soon):
            while heap and self.entries.get(heap[0][2].key) is not heap[0][2]:
                heappop(heap)
        return min((heap[0][0] for heap in (self._due, self._soon) if heap), default=None)

    def due_before(self, moment: datetime) -> bool:
        """Whether something is due by then."""
        return bool(self._due) and self._due[0][0] <= moment

    def _taken(self, heap: list[_Place], now: datetime) -> Iterator[Entry]:
        while heap and heap[0][0] <= now:
            entry = heappop(heap)[2]
            if self.entries.get(entry.key) is entry:
                yield entry
