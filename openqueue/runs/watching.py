"""News of runs as it comes: of those that are unfinished, and of those that are enqueued from now on.

Nobody writes down in one place that something has happened, as that would cost every run a row. So what is
watched is a set: the newest unfinished runs, joined by new ones, left by those that have ended. A round reads
the timelines of the set and tells what was not told before; it costs in proportion to the set, whatever lies
in history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.runs.filter import RunFilter
from openqueue.runs.history import list_runs
from openqueue.runs.model import Row, RunEvent, RunInfo
from openqueue.runs.states import LIVE

__all__ = ["MOST", "Timeline", "Watch"]

MOST: Final = 1000
"""Runs that are followed at a time, the newest."""

LATE: Final = timedelta(seconds=30)
"""How long after its id was made a run may still appear: an enqueue's transaction may stay open."""

Line = tuple[RunInfo, RunEvent]

_BY_HAND: Final = -1
_AT_THE_END: Final = 2**63 - 1
"""What stands in `n` of an event that is neither a line of the log nor progress."""


class _Told:
    """What of a run's timeline has been told.

    The place there does not say it: a line of log is written after it was said, and may come to stand before
    what somebody did by hand meanwhile. Lines and progress have numbers that grow, and the rest is little.
    """

    __slots__ = ("_others", "_upto")

    def __init__(self) -> None:
        self._upto = 0
        self._others: set[tuple[Any, ...]] = set()

    def news(self, rows: Iterable[Row]) -> list[Row]:
        """Those that have not been told, which have been told now."""
        fresh = [row for row in rows if not self._knows(row)]
        for row in fresh:
            if 0 < row["n"] < _AT_THE_END:
                self._upto = max(self._upto, row["n"])
            else:
                self._others.add(_name(row))
        return fresh

    def _knows(self, row: Row) -> bool:
        if 0 < row["n"] < _AT_THE_END:
            return bool(row["n"] <= self._upto)
        return _name(row) in self._others


def _name(row: Row) -> tuple[Any, ...]:
    """Of an event that is none of the log: a 'failed' may become a 'retried', and is the same."""
    return (row["number"], row["n"], *((row["at"], row["event"]) if row["n"] == _BY_HAND else ()))


class Timeline:
    """What happens to one run, from its beginning on."""

    def __init__(self, database: Database, run_id: UUID) -> None:
        self._database = database
        self._run_id = run_id
        self._told = _Told()

    async def once(self) -> list[RunEvent]:
        """What has happened since the last time, oldest first."""
        return [
            RunEvent.of(row)
            for row in self._told.news(await self._database.fetch("run_events", self._run_id))
        ]


class Watch:
    """What happens to the runs that a filter chooses, from `begin` on.

    The filter's status, time and limit mean nothing here: a run is followed until it has ended.
    """

    def __init__(self, database: Database, namespace: str, chosen: RunFilter) -> None:
        self._database = database
        self._namespace = namespace
        self._chosen = replace(chosen, limit=MOST, status=(), since=None, until=None, before=None)
        self._runs: dict[UUID, RunInfo] = {}
        self._told: dict[UUID, tuple[datetime, _Told]] = {}
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
        for run, rows in await self._timelines():
            self._news(run, rows, now)
        self._since = now

    async def once(self) -> list[Line]:
        """What has happened since the last time, oldest first."""
        since = self._since
        assert since is not None, "begin comes first"
        now: datetime = await self._database.fetchval("database_time")
        for run in await self._found(since):
            if len(self._runs) < MOST and not (run.finished and run.id in self._told):
                self._runs.setdefault(run.id, run)
        news = [line for run, rows in await self._timelines() for line in self._news(run, rows, since)]
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

    async def _timelines(self) -> list[tuple[RunInfo, Sequence[Row]]]:
        found: dict[UUID, list[Row]] = {}
        for row in await self._database.fetch("events_of_runs", list(self._runs)):
            found.setdefault(row["run_id"], []).append(row)
        return [(self._runs[run_id], rows) for run_id, rows in found.items()]

    def _news(self, run: RunInfo, rows: Sequence[Row], since: datetime) -> list[Line]:
        """What has not been told; a run that has ended is not followed any longer."""
        if run.id not in self._told:
            self._told[run.id] = (run.created_at, _Told())
            if run.created_at < since - LATE:  # an old one that was retried
                self._told[run.id][1].news(row for row in rows if row["at"] < since)
        events = [RunEvent.of(row) for row in rows]
        fresh = self._told[run.id][1].news(rows)
        if any(event.data.get("final") for event in events):
            del self._runs[run.id]
        return [(run, RunEvent.of(row)) for row in fresh]
