"""Lists of runs: which query answers which filter.

A list that filters on status starts from the table that knows it (`jobs` for unfinished runs, the final
`attempts` for finished ones), that of a schedule from its ticks, any other walks the ids from the newest; so
no list has to read all of history to show a page of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from openqueue.codec import encode
from openqueue.db.pool import Database
from openqueue.errors import InvalidOption, did_you_mean
from openqueue.runs.model import Row, RunInfo
from openqueue.runs.states import ENDED, LIVE, STATUSES

__all__ = ["RunFilter", "list_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; all that is given must hold. Checked when made: raises InvalidOption.

    status          any of these
    meta            contained in the run's meta, nested too
    tags            any of these
    since, until    created from, created before
    schedule        of the ticks of the schedule of this key, those fired by hand and afterwards too
    before          only runs older than this one: the last of the page before
    limit           1 … 10,000
    """

    task: str | None = None
    queue: str | None = None
    status: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    schedule: str | None = None
    before: UUID | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        known = [state.status for state in STATUSES]
        for status in self.status:
            if status not in known:
                near = did_you_mean(status, known) or f" Known are {', '.join(known)}."
                raise InvalidOption(f"status: there is no status {status!r}.{near}", option="status")
        if not 1 <= self.limit <= 10_000:
            raise InvalidOption(f"limit: {self.limit} is not between 1 and 10,000.", option="limit")
        for name in ("since", "until"):
            moment: datetime | None = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise InvalidOption(f"{name}: the time {moment} has no time zone; give one.", option=name)


async def list_runs(database: Database, namespace: str, chosen: RunFilter) -> list[RunInfo]:
    """The runs, newest first."""
    shared = (
        namespace,
        chosen.task,
        chosen.queue,
        encode(chosen.meta, what="meta") if chosen.meta else None,
        list(chosen.tags) or None,
        chosen.since,
        chosen.until,
        chosen.before,
        chosen.limit,
    )
    if chosen.schedule is not None:
        statuses = list(chosen.status) or None
        return _infos(await database.fetch("runs_scheduled", *shared, chosen.schedule, statuses))
    if not chosen.status:
        return _infos(await database.fetch("runs_all", *shared))
    found: list[RunInfo] = []
    if letters := [letter for status in chosen.status for letter in LIVE.get(status, ())]:
        found += _infos(await database.fetch("runs_live", *shared, letters))
    if outcomes := [status for status in chosen.status if status in ENDED]:
        found += _infos(await database.fetch("runs_ended", *shared, outcomes))
    return sorted(found, key=lambda run: run.id, reverse=True)[: chosen.limit]


def _infos(rows: Iterable[Row]) -> list[RunInfo]:
    return [RunInfo.of(row) for row in rows]
