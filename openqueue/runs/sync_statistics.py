"""`client.stats` without await: each call is that of `Statistics`, made where the client is."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from openqueue.runs.statistics import Period, QueueInfo, Span, TaskStats, WorkerInfo

if TYPE_CHECKING:
    from openqueue.runs.sync_client import SyncClient

__all__ = ["SyncStatistics"]


class SyncStatistics:
    """Queues, tasks, workers and what happened, without await: the calls of `Statistics`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def queues(self, *, minutes: int = 5) -> list[QueueInfo]:
        """What waits in the queues, and what ended lately; see `Statistics.queues`."""
        return self._client.ask(lambda client: client.stats.queues(minutes=minutes))

    def tasks(self, *, minutes: int = 5) -> list[TaskStats]:
        """What ended of each task lately; see `Statistics.tasks`."""
        return self._client.ask(lambda client: client.stats.tasks(minutes=minutes))

    def workers(self, *, most: int = 10) -> list[WorkerInfo]:
        """The workers, and what they run; see `Statistics.workers`."""
        return self._client.ask(lambda client: client.stats.workers(most=most))

    def history(
        self,
        span: Span,
        since: datetime,
        until: datetime,
        *,
        queue: str | None = None,
        task: str | None = None,
    ) -> list[Period]:
        """What ended in each minute, hour or day; see `Statistics.history`."""
        return self._client.ask(
            lambda client: client.stats.history(span, since, until, queue=queue, task=task)
        )
