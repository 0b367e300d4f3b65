"""Several jobs of one task that are one call: to a pool of places they are one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from openqueue.worker.job import Job

if TYPE_CHECKING:
    from openqueue.runs.outcomes import Outcome

__all__ = ["Gathered"]


class Gathered(Job):
    """Goes by the first of them, where something has to have a name; takes one place.

    outcomes   how each has ended, once the call is over

    The call is interrupted as a whole when each of its jobs is cancelled or lost, and when the worker stops.
    Until then, of one that is cancelled only its own flag is set.
    """

    __slots__ = ("_called", "_jobs", "outcomes")

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(jobs[0].row, jobs[0].claim)
        self.doubted = False  # those begin alone
        self.claimed_at = time.monotonic()
        self.outcomes: dict[Job, Outcome] = {}
        self._jobs = tuple(jobs)
        self._called: tuple[Job, ...] = ()
        for job in jobs:
            job.within = self

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Those of the call, in order."""
        return self._jobs

    @property
    def called(self) -> tuple[Job, ...]:
        """Those whose inputs the call was given; none before it begins."""
        return self._called

    @called.setter
    def called(self, jobs: Sequence[Job]) -> None:
        self._called = tuple(jobs)

    def leave(self, job: Job) -> bool:
        """Take a job out, before the call begins; says whether any is left."""
        self._jobs = tuple(one for one in self._jobs if one is not job)
        job.within = None
        return bool(self._jobs)

    def interrupt_part(self) -> None:
        """One of the jobs is cancelled or lost: if it was the last one, nobody wants the call."""
        if all(job.lost or job.asked is not None for job in self._jobs) and not (self.asked or self.lost):
            self.lost = all(job.lost for job in self._jobs)
            self.asked = None if self.lost else "cancel"
            self.interrupt()

    def interrupt(self) -> None:
        """Cancel the call where it stands."""
        for job in self._jobs:
            if job.cancelled is not None:
                job.cancelled.set()
        super().interrupt()
