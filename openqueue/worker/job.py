"""A claimed job, from the claim to the end of its attempt; and several of one task that are one call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from openqueue.clock import DatabaseTime
from openqueue.tasks.cancellation import Cancellation

if TYPE_CHECKING:
    from openqueue.runs.outcomes import Asked, Outcome
    from openqueue.tasks.runlog import Lines
    from openqueue.worker.storing.patches import Patches

__all__ = ["PATIENCE", "Gathered", "Job"]

PATIENCE: Final = 0.5
"""Seconds that a thread or a process may take to end by itself, once told that its run is cancelled."""

NEAR: Final = timedelta(seconds=10)
"""Before a deadline: what is believed of the database's clock is wrong by a few seconds at most."""


class Job:
    """A row of `claim_jobs` and what this process knows of its attempt.

    row          the record as claimed
    claim        the fence: with the worker's id it names this hold on the run
    started      whether the database shows it as running
    claimed_at, started_at, finished_at   monotonic seconds; 0.0 while it is not so far
    asked        what was asked of the attempt: 'cancel', 'stop', or nothing
    doubted      whether this worker still has the lease is to be asked before the attempt begins
    lost         the lease is gone: nothing of it may be written
    within       the call that it is a part of, if it was gathered with others
    expired      it is gone because the deadline passed before the attempt began
    lines        those of its log, once it has said something
    patches      those of its progress, likewise
    """

    __slots__ = (
        "asked",
        "cancelled",
        "claim",
        "claimed_at",
        "doubted",
        "expired",
        "finished_at",
        "id",
        "lines",
        "lost",
        "patches",
        "row",
        "runner",
        "started",
        "started_at",
        "task",
        "within",
    )

    def __init__(self, row: Any, claim: int) -> None:
        self.row = row
        self.id: UUID = row["id"]
        self.task: str = row["task"]
        self.claim = claim
        self.started: bool = row["started"]
        self.claimed_at = time.monotonic()
        self.started_at = 0.0
        self.finished_at = 0.0
        self.asked: Asked | None = None
        self.doubted: bool = row["suspect"] and not self.started
        self.lost = False
        self.expired = False
        self.runner: asyncio.Task[None] | None = None
        self.cancelled: Cancellation | None = None
        self.within: Gathered | None = None
        self.lines: Lines | None = None
        self.patches: Patches | None = None

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs that are one call together: this one alone."""
        return (self,)

    @property
    def called(self) -> tuple[Job, ...]:
        """Those whose inputs the call was given."""
        return self.jobs

    def cancellation(self) -> Cancellation:
        """The flag that the task sees as `ctx.cancelled`."""
        if self.cancelled is None:
            self.cancelled = Cancellation()
            if self.asked is not None or self.lost:
                self.cancelled.set()
        return self.cancelled

    def may_expire(self, clock: DatabaseTime) -> bool:
        """Whether its deadline may pass before it begins: then the database is asked, whose clock counts."""
        deadline = self.row["deadline"]
        if deadline is None or self.started:
            return False
        left = clock.until(deadline)
        return left is None or left < NEAR

    def interrupt(self) -> None:
        """Cancel the attempt where it stands; of a call for several only its own part."""
        if self.cancelled is not None:
            self.cancelled.set()
        if self.runner is not None:
            self.runner.cancel()
        elif self.within is not None:
            self.within.interrupt_part()

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.task}>"


class Gathered(Job):
    """Several jobs of one task that are one call, and to a pool of places are one.

    It goes by the first of them, where something has to have a name; takes one place.

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
