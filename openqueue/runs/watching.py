"""News of runs as it comes: of those that are unfinished, and of those that are enqueued from now on.

Nobody writes down in one place that something has happened, as that would cost every run a row. So what is
watched is a set: the newest unfinished runs, joined by new ones, left by those that have ended. A round reads
the timelines of the set and tells what was not told before; it costs in proportion to the set, whatever lies
in history.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.runs.filter import RunFilter
from openqueue.runs.history import list_runs
from openqueue.runs.model import RunEvent, RunInfo
from openqueue.runs.states import LIVE

__all__ = ["MOST", "Watch"]

MOST: Final = 1000
"""Runs that are followed at a time, the newest."""

LATE: Final = timedelta(seconds=30)
"""How long after its id was made a run may still appear: an enqueue's transaction may stay open."""

Line = tuple[RunInfo, RunEvent]


class Watch:
    """What happens to the runs that a filter chooses, from `begin` on.

    The filter's status, time and limit mean nothing here: a run is followed until it has ended.
    """

    def __init__(self, database: Database, namespace: str, chosen: RunFilter) -> None:
        self._database = database
        self._namespace = namespace
        self._chosen = replace(chosen, limit=MOST, status=(), since=None, until=None, before=None)
        self._runs: dict[UUID, RunInfo] = {}
        self._told: dict[UUID, tuple[datetime, int]] = {}
        self._since: datetime | None = None

    @property
    def followed(self) -> int:
        """How many runs are followed now; with `MOST` of them there may be others that are not."""
        return len(self._runs)

    async def begin(self) -> None:
        """Take in what is there; what has happened to it until now is not told."""
        now: datetime = await self._database.fetchval("database_time")
        for run in await self._found(now):
            self._runs[run.id] = run
        for run, events in await self._timelines():
            self._tell(run, events, len(events))
        self._since = now

    async def once(self) -> list[Line]:
        """What has happened since the last time, oldest first."""
        since = self._since
        assert since is not None, "begin comes first"
        now: datetime = await self._database.fetchval("database_time")
        for run in await self._found(since):
            if len(self._runs) < MOST and not (run.finished and run.id in self._told):
                self._runs.setdefault(run.id, run)
        news = [line for run, events in await self._timelines() for line in self._news(run, events, since)]
        self._since = now
        self._told = {
            run_id: told
            for run_id, told in self._told.items()
            if run_id in self._runs or told[0] >= now - 2 * LATE
        }
        return sorted(news, key=lambda line: line[1].at)

    async def _found(self, since: datetime) -> list[RunInfo]:
        unfinished = replace(self._chosen, status=tuple(LIVE))
        recent = replace(self._chosen, since=since - LATE)
        return [
            run
            for chosen in (unfinished, recent)
            for run in await list_runs(self._database, self._namespace, chosen)
        ]

    async def _timelines(self) -> list[tuple[RunInfo, list[RunEvent]]]:
        found: dict[UUID, list[RunEvent]] = {}
        for row in await self._database.fetch("events_of_runs", list(self._runs)):
            found.setdefault(row["run_id"], []).append(RunEvent.of(row))
        return [(self._runs[run_id], events) for run_id, events in found.items()]

    def _news(self, run: RunInfo, events: list[RunEvent], since: datetime) -> list[Line]:
        if run.id in self._told:
            known = self._told[run.id][1]
        elif run.created_at < since - LATE:  # an old one that was retried
            known = sum(event.at < since for event in events)
        else:
            known = 0
        self._tell(run, events, len(events))
        return [(run, event) for event in events[known:]]

    def _tell(self, run: RunInfo, events: list[RunEvent], told: int) -> None:
        """Note what was told; a run that has ended is not followed any longer."""
        self._told[run.id] = (run.created_at, told)
        if any(event.data.get("final") for event in events):
            del self._runs[run.id]
