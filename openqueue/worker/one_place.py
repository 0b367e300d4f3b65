"""The place of one attempt: what it logs is heard there, and which runs it waits for is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from logging import LogRecord
from uuid import UUID

from openqueue.worker.job import Job

__all__ = ["Hear", "OnePlace", "Waits"]

Hear = Callable[[Job, LogRecord], object]
"""Called with what an attempt has logged, in whichever thread."""


class Waits:
    """Which attempts wait for which runs. `told` is called, in whichever thread, when one begins to."""

    def __init__(self) -> None:
        self.told: Callable[[], object] = lambda: None
        self._waits: dict[Job, list[UUID]] = {}

    def __contains__(self, job: Job) -> bool:
        return job in self._waits

    def of(self, job: Job) -> list[UUID]:
        """The runs that this attempt waits for."""
        return list(self._waits.get(job, ()))

    @contextmanager
    def waiting(self, job: Job, run_id: UUID) -> Iterator[None]:
        """Within the block, the attempt waits for the run; it may do so several times at once."""
        waits = self._waits.setdefault(job, [])
        waits.append(run_id)
        self.told()
        try:
            yield
        finally:
            waits.remove(run_id)
            if not waits:
                self._waits.pop(job, None)


class OnePlace:
    """The place of one attempt; see `tasks.places`. What the attempt leaves running belongs to no other."""

    __slots__ = ("_hear", "_job", "_waits")

    def __init__(self, job: Job, waits: Waits, hear: Hear) -> None:
        self._job = job
        self._waits = waits
        self._hear = hear

    def waiting_for(self, run_id: UUID) -> AbstractContextManager[None]:
        """Within the block, the attempt that runs here now waits for the end of this run."""
        return self._waits.waiting(self._job, run_id)

    def hear(self, record: LogRecord) -> None:
        """The attempt has logged this."""
        self._hear(self._job, record)
