"""What tasks log by the standard library, on its way into the logs of their runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from logging import LogRecord

from openqueue.tasks.captured import Capture, capturing, level_number, told
from openqueue.tasks.registry import Registry
from openqueue.worker.job import Job
from openqueue.worker.storing.journal import RunJournal

__all__ = ["Hearing"]


class Hearing:
    """Keeps the records of a worker's attempts from a level on, which a task may choose for itself."""

    def __init__(self, registry: Registry, journal: RunJournal, capture_logs: Capture) -> None:
        self._registry = registry
        self._journal = journal
        self._capture_logs = capture_logs

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Within the block it is told what is logged; nothing is installed where no task wants it."""
        levels = {task.defaults.capture_logs or self._capture_logs for task in self._registry}
        with capturing(wanted=levels != {"off"}):
            yield

    def hear(self, job: Job, record: LogRecord) -> None:
        """An attempt has logged this. What it has left running, and who has lost its lease, is not heard."""
        capture = self._registry.get(job.task).defaults.capture_logs or self._capture_logs
        if record.levelno < level_number(capture) or job.finished_at:
            return
        to = [one for one in job.called if not one.lost and self._journal.lines(one).admit()]
        if to:
            level, message, fields = told(record)
            for one in to:
                self._journal.log(one, level, message, fields)
