"""What attempts say while they run: gathered from any thread, written in batches before their end is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

from openqueue.codec import encode
from openqueue.tasks.runlog import FULL, Lines, RunLog
from openqueue.worker.job import Job
from openqueue.worker.storing.patches import EVERY, Patches

__all__ = ["Entry", "Journal", "RunJournal", "Spread", "entries_of"]

MOST_ENTRIES: Final = 50_000
MOST_BYTES: Final = 64 * 1024 * 1024
"""What is kept in memory while the database is away; the oldest go first, and are counted."""

MOST_AT_ONCE: Final = 1_000
LARGEST_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One progress patch or log line, or `full`: what the last line of a full log says; `at` is monotonic."""

    job: Job
    kind: str
    at: float
    data: str


class Journal(Protocol):
    """Where what a task says by its Context goes."""

    def open_log(self, job: Job) -> RunLog:
        """The log of an attempt."""
        ...

    def progress(self, job: Job, patch: dict[str, Any]) -> None:
        """Merge a patch into the run's progress."""
        ...


class RunJournal:
    """Entries not yet written. Appending is safe from threads and takes a microsecond or two."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._dropped = 0
        self._holding: dict[Job, Patches] = {}
        self._lock = threading.RLock()  # the garbage collector may let somebody speak while it is held
        self._most = MOST_AT_ONCE

    def __len__(self) -> int:
        return len(self._entries) + len(self._holding)

    def log(self, job: Job, level: str, message: str, fields: dict[str, Any]) -> None:
        """Keep a log line with the run; what a thread that was left behind says is dropped."""
        if job.finished_at:
            return
        kind, level = ("full", "warning") if level == FULL else ("log", level)
        data = encode({"level": level, "message": message, **({"fields": fields} if fields else {})})
        self._append(Entry(job, kind, time.monotonic(), data))

    def lines(self, job: Job) -> Lines:
        """Those of the attempt, whichever way they are said."""
        if job.lines is None:
            with self._lock:
                if job.lines is None:
                    job.lines = Lines(partial(self.log, job))
        return job.lines

    def open_log(self, job: Job) -> RunLog:
        """The log of an attempt."""
        return RunLog(partial(self.log, job), admit=self.lines(job).admit)

    def progress(self, job: Job, patch: dict[str, Any]) -> None:
        """Merge a patch into the run's progress."""
        if job.finished_at:
            return
        text, now = encode(patch, what="progress"), time.monotonic()
        with self._lock:
            if job.patches is None:
                job.patches = Patches()
            for data in job.patches.add(text, now):
                self._append(Entry(job, "progress", now, data))
            if job.patches.held is not None:
                self._holding[job] = job.patches
            else:
                self._holding.pop(job, None)

    def settle(self, now: float) -> None:
        """Have that of progress be taken which was held for long enough, or whose attempt is over."""
        with self._lock:
            for job, patches in list(self._holding.items()):
                if job.finished_at or now - patches.since >= EVERY:
                    del self._holding[job]
                    self._append(Entry(job, "progress", now, patches.release()))

    def take(self) -> list[Entry]:
        """The oldest entries, which are no longer here; those of lost jobs are left out."""
        taken: list[Entry] = []
        size = 0
        while self._entries and len(taken) < self._most and size < LARGEST_BYTES:
            with self._lock:
                entry = self._entries.popleft()
                self._bytes -= len(entry.data)
            if not entry.job.lost:
                taken.append(entry)
                size += len(entry.data)
        if not self._entries:
            self._most = MOST_AT_ONCE
        return taken

    def give_back(self, entries: list[Entry]) -> None:
        """They could not be written: they come first next time."""
        with self._lock:
            self._entries.extendleft(reversed(entries))
            self._bytes += sum(len(entry.data) for entry in entries)

    def divide(self, entries: list[Entry]) -> None:
        """One of them is refused for what it says: they are taken by ones until it is found, and dropped."""
        if len(entries) > 1:
            self._most = 1
            self.give_back(entries)
        else:
            self._most = MOST_AT_ONCE

    def dropped(self) -> int:
        """How many entries were dropped for want of room since this was asked last."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def _append(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)
            self._bytes += len(entry.data)
            while len(self._entries) > MOST_ENTRIES or (self._bytes > MOST_BYTES and len(self._entries) > 1):
                self._bytes -= len(self._entries.popleft().data)
                self._dropped += 1


class Spread:
    """What one call says, said of each of its jobs."""

    def __init__(self, journal: RunJournal, jobs: Sequence[Job]) -> None:
        self._journal = journal
        self._jobs = jobs

    def open_log(self, _: Job) -> RunLog:
        """The log of the call: each run keeps the lines that it has room for."""
        return RunLog(self._log, admit=lambda: True)

    def _log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        for job in self._jobs:
            if self._journal.lines(job).admit():
                self._journal.log(job, level, message, fields)

    def progress(self, _: Job, patch: dict[str, Any]) -> None:
        """Merge a patch into each run's progress."""
        for job in self._jobs:
            self._journal.progress(job, patch)


def entries_of(
    entries: list[Entry], now: float
) -> tuple[list[UUID], list[int], list[str], list[float], list[str]]:
    """The entries as the arrays of `log_runs`; times as seconds ago."""
    return (
        [entry.job.id for entry in entries],
        [entry.job.claim for entry in entries],
        [entry.kind for entry in entries],
        [max(0.0, now - entry.at) for entry in entries],
        [entry.data for entry in entries],
    )
