"""How much waits in the database: read when it is asked for, not more than once every few seconds.

In the thread that asks, over a connection of its own: a task that blocks the event loop does not keep the
figures back, and nobody who does not ask pays for them. Of unfinished runs the first `LOOKED_AT` are counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from openqueue.db.faults import FROM_ASYNCPG
from openqueue.db.statements import Statements
from openqueue.db.target import Target, connect
from openqueue.errors import OpenQueueError

__all__ = ["Depth", "Waiting"]

EVERY: Final = 5.0
"""Seconds that an answer is good for."""

PATIENCE: Final = 3.0
"""Seconds that the database has: who scrapes waits for it."""

LOOKED_AT: Final = 100_000
MOST: Final = 100
"""Queues with figures of their own, those with most jobs; the others are one, `_other`."""

STATES: Final = ("ready", "running", "blocked", "retrying", "scheduled")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the database said: jobs by (queue, state), and how long the first ready one of a queue waits."""

    up: bool
    jobs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest: Mapping[str, float] = field(default_factory=dict)
    capped: bool = False


class Depth:
    """Asks the database of `target`; from any thread."""

    def __init__(self, target: Target, statements: Statements, namespace: str) -> None:
        self._target = target
        self._statements = statements
        self._namespace = namespace
        self._lock = Lock()
        self._read_at = -EVERY
        self._last = Waiting(up=False)

    def read(self) -> Waiting:
        """The newest answer. Who asks while another one does waits for that."""
        with self._lock:
            if time.monotonic() - self._read_at >= EVERY:
                self._last = asyncio.run(self._ask())
                self._read_at = time.monotonic()
            return self._last

    async def _ask(self) -> Waiting:
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await connect(self._target, application="openqueue metrics", timeout=PATIENCE)
                try:
                    text = self._statements["doctor_waiting"]
                    rows = await connection.fetch(text, self._namespace, LOOKED_AT)
                finally:
                    connection.terminate()
        except (OpenQueueError, TimeoutError, *FROM_ASYNCPG):
            return Waiting(up=False)
        return by_queue(dict(row) for row in rows)


def by_queue(rows: Iterable[Mapping[str, Any]], most: int = MOST) -> Waiting:
    """Of rows by task and queue; of more queues than `most` those with the fewest jobs are one. Pure."""
    known = [*rows]
    sizes: dict[str, int] = {}
    for row in known:
        sizes[row["queue"]] = sizes.get(row["queue"], 0) + row["jobs"]
    named = set(sorted(sizes, key=lambda queue: -sizes[queue])[:most])
    jobs: dict[tuple[str, str], int] = {}
    oldest: dict[str, float] = {}
    for row in known:
        queue = row["queue"] if row["queue"] in named else "_other"
        for state in STATES:
            amount = row[state] if state != "scheduled" else _scheduled(row)
            jobs[queue, state] = jobs.get((queue, state), 0) + amount
        if row["oldest"] is not None:
            oldest[queue] = max(oldest.get(queue, 0.0), row["oldest"])
    return Waiting(up=True, jobs=jobs, oldest=oldest, capped=any(row["capped"] for row in known))


def _scheduled(row: Mapping[str, Any]) -> int:
    rest: int = row["jobs"] - sum(row[state] for state in STATES if state != "scheduled")
    return rest
