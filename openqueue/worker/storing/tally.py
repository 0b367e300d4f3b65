"""Counts what ends in a worker, and how long it waited and ran; heartbeats tell it to the database.

A histogram is a list of counts on a logarithmic scale, four to each doubling (see `sql/engine/stats.sql`).
What is told has a number, and is told again under the same one until it has arrived: it counts once. What
has not been told when the process is killed, the last few seconds, is not in the statistics.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from math import log2
from typing import Any, Final

from openqueue.clock import DatabaseTime
from openqueue.codec import encode
from openqueue.db.pool import Database
from openqueue.runs.outcomes import Outcome
from openqueue.worker.job import Job

__all__ = ["BUCKETS", "Tally", "Told"]

BUCKETS: Final = 128
SHORTEST: Final = 1e-4
"""Seconds below which all is one; each further bucket reaches a fourth of a doubling further."""

EVERY: Final = 4.5
"""Seconds between two that are told, at least: a little less than between two beats."""

Told = tuple[int, str]
Cell = tuple[dict[str, int], list[int], list[int]]

_NAMES: Final = {
    "completed": "completed",
    "failed": "failed",
    "retry": "retried",
    "snoozed": "snoozed",
    "cancelled": "cancelled",
    "released": "released",
}
"""What outcomes are called in the statistics."""

_NO_CELL: Final[Cell] = ({}, [], [])


class Tally:
    """What has ended since it was told last. Counted in the worker's loop, told from the heartbeat's thread.

    How long a run has waited is by the clock of the database; until that is known, by ours.
    """

    def __init__(self, clock: DatabaseTime | None = None) -> None:
        self._clock = clock or DatabaseTime()
        self._cells: dict[tuple[str, str], Cell] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._told: Told | None = None
        self._last = 0.0

    def count(self, ended: Iterable[tuple[Job, Outcome]]) -> None:
        """Attempts have ended, and that is stored."""
        known = self._clock.zero
        zero = time.time() - time.monotonic() if known is None else known
        queue = task = None
        with self._lock:
            kinds, waited, ran = _NO_CELL
            for job, outcome in ended:
                row = job.row
                if job.task != task or row["queue"] != queue:  # mostly it is the one before
                    queue, task = row["queue"], job.task
                    kinds, waited, ran = self._cell(queue, task)
                began = job.started_at
                kinds[outcome.kind] += 1
                waited[bucket(zero + began - row["run_at"].timestamp())] += 1
                ran[bucket(job.finished_at - began)] += 1

    def _cell(self, queue: str, task: str) -> Cell:
        cell = self._cells.get((queue, task))
        if cell is None:
            cell = self._cells[queue, task] = (dict.fromkeys(_NAMES, 0), [0] * BUCKETS, [0] * BUCKETS)
        return cell

    def tell(self, *, now: bool = False) -> Told | None:
        """What is to be told, as a number and JSON: the same until it has `arrived`. None: nothing yet."""
        if self._told is None and (now or time.monotonic() - self._last >= EVERY):
            with self._lock:
                cells, self._cells = self._cells, {}
            if cells:
                self._number += 1
                self._told = (self._number, encode([_said(key, cell) for key, cell in cells.items()]))
        return self._told

    def arrived(self, told: Told | None) -> None:
        """What was told is in the database."""
        if told is not None and told is self._told:
            self._told = None
            self._last = time.monotonic()

    async def flush(self, database: Database, worker: Any, namespace: str) -> None:
        """Tell all that is left."""
        while (told := self.tell(now=True)) is not None:
            await database.fetchval("tell_stats", worker, told[0], namespace, told[1])
            self.arrived(told)


def bucket(seconds: float) -> int:
    """Where so many seconds count. Pure."""
    if seconds < SHORTEST:
        return 0
    place = int(4 * log2(seconds * 1e4)) + 1
    return place if place < BUCKETS else BUCKETS - 1


def _said(key: tuple[str, str], cell: Cell) -> dict[str, Any]:
    kinds, waited, ran = cell
    counted = {_NAMES[kind]: count for kind, count in kinds.items() if count}
    return {"queue": key[0], "task": key[1], **counted, "waited": _trimmed(waited), "ran": _trimmed(ran)}


def _trimmed(counts: list[int]) -> list[int]:
    """Without the zeros at the end."""
    last = BUCKETS
    while last and not counts[last - 1]:
        last -= 1
    return counts[:last]
