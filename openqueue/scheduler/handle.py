"""A schedule that somebody has in hand: look at it, and at what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from openqueue.runs.filter import RunFilter
from openqueue.scheduler.model import ScheduleInfo, TickInfo

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.model import RunInfo

__all__ = ["Schedule"]


class Schedule:
    """A schedule that was added or edited. What ends in `_sync` is for code that cannot await.

    key       its key
    outcome   what was done: 'added', 'updated' or 'unchanged'
    """

    __slots__ = ("_client", "key", "outcome")

    key: str
    outcome: Literal["added", "updated", "unchanged"]

    def __init__(self, client: Client, key: str, outcome: Literal["added", "updated", "unchanged"]) -> None:
        self._client = client
        self.key = key
        self.outcome = outcome

    async def info(self) -> ScheduleInfo:
        """Everything known of it now. Raises ScheduleNotFound."""
        return await self._client.schedules.get(self.key)

    async def runs(self, limit: int = 50) -> Sequence[RunInfo]:
        """Its runs, newest first."""
        return await self._client.list_runs(RunFilter(schedule=self.key, limit=limit))

    async def ticks(self, limit: int = 50) -> Sequence[TickInfo]:
        """What became of its times, newest first."""
        return await self._client.schedules.ticks(self.key, limit=limit)

    def info_sync(self) -> ScheduleInfo:
        """As `info`."""
        return self._client.sync.schedules.get(self.key)

    def runs_sync(self, limit: int = 50) -> Sequence[RunInfo]:
        """As `runs`."""
        return self._client.sync.list_runs(RunFilter(schedule=self.key, limit=limit))

    def ticks_sync(self, limit: int = 50) -> Sequence[TickInfo]:
        """As `ticks`."""
        return self._client.sync.schedules.ticks(self.key, limit=limit)

    def __repr__(self) -> str:
        return f"<Schedule {self.key}: {self.outcome}>"
