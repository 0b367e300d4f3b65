"""Outcomes whose job somebody else has locked: an open transaction of a user that cancels or replaces it.

They wait here, beside those that can be stored, and are tried again: at once nearly, as most locks are held
for an instant, then ever more seldom.
"""

from __future__ import annotations

import random
import time
from typing import Final

from openqueue.runs.outcomes import Outcome
from openqueue.worker.job import Job

__all__ = ["Busy", "Ended"]

PAUSES: Final = (0.002, 1.0)
"""Seconds of the first pause and of the longest; they double."""

Ended = tuple[Job, Outcome]


class Busy:
    """The outcomes that wait, each with the time of its next try."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Job, Outcome]] = []
        self._pauses: dict[Job, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def unsettled(self) -> bool:
        """Whether any was found locked of which nobody knows yet what became."""
        return bool(self._pauses)

    def put(self, job: Job, outcome: Outcome) -> None:
        """The job was found locked, for the first time or again."""
        pause = self._pauses.get(job, PAUSES[0])
        self._pauses[job] = min(2 * pause, PAUSES[1])
        self._waiting.append((time.monotonic() + pause * random.uniform(0.75, 1.25), job, outcome))

    def settled(self, job: Job) -> None:
        """Its fate is known."""
        self._pauses.pop(job, None)

    def take(self) -> list[Ended]:
        """Those whose time has come; they are no longer here."""
        now = time.monotonic()
        due = [(job, outcome) for at, job, outcome in self._waiting if at <= now]
        self._waiting = [one for one in self._waiting if one[0] > now]
        return due

    def take_all(self) -> list[Ended]:
        """All of them, due or not."""
        taken = [(job, outcome) for _, job, outcome in self._waiting]
        self._waiting.clear()
        return taken

    def wait(self, longest: float) -> float:
        """Seconds until the next one is due, at most `longest`."""
        soonest = min((at for at, _, _ in self._waiting), default=None)
        return longest if soonest is None else min(longest, max(0.0, soonest - time.monotonic()))
