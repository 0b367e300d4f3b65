"""What is asked of running attempts: to be cancelled, or to stop because their lease is gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from uuid import UUID

from openqueue.events import Emit
from openqueue.runs.outcomes import Outcome
from openqueue.worker.completer import Completer
from openqueue.worker.events import ExpiredBeforeStart, LeaseWasLost
from openqueue.worker.inflight import Inflight
from openqueue.worker.intake.gathering import Gathering
from openqueue.worker.job import Job

__all__ = ["Control"]


class Control:
    """Finds the attempts meant in this worker's pools. To repeat a request changes nothing."""

    def __init__(
        self, worker: UUID, pools: Sequence[Inflight | Gathering], completer: Completer, emit: Emit
    ) -> None:
        self._worker = str(worker)
        self._pools = pools
        self._completer = completer
        self._emit = emit

    def hear(self, payload: str) -> None:
        """A notification of the schema's channel."""
        if '"cancel"' in payload:
            told = json.loads(payload)
            if told.get("worker") == self._worker:
                self.cancel(UUID(one) for one in told["cancel"])

    def cancel(self, run_ids: Iterable[UUID]) -> None:
        """Cancel these runs, if they are here; one that has not begun ends at once."""
        for run_id in run_ids:
            for pool in self._pools:
                job = pool.find(run_id)
                if job is None or job.asked is not None:
                    continue
                job.asked = "cancel"
                if pool.drop(job):
                    job.started_at = job.finished_at = job.claimed_at
                    self._completer.ended(job, Outcome("cancelled"))
                else:
                    job.interrupt()

    def lose(self, job: Job) -> None:
        """The lease of this job is gone: stop its attempt, if it is under way, and write nothing of it."""
        for pool in self._pools:
            if pool.find(job.id) is job:
                self._lose(pool, job)

    def stop(self) -> None:
        """The process ends: cancel what runs; it goes back uncounted."""
        for pool in self._pools:
            for job in list(pool.running):
                if job.asked is None:
                    job.asked = "stop"
                job.interrupt()

    def _lose(self, pool: Inflight | Gathering, job: Job) -> None:
        if job.lost:
            return
        job.lost = True
        if job.expired:
            self._emit(ExpiredBeforeStart(job.id, job.task, job.row["deadline"].isoformat()))
        else:
            self._emit(LeaseWasLost(job.id, job.task, "running it"))
        if pool.drop(job):
            self._completer.gone(job)
        else:
            job.interrupt()
