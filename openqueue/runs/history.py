"""Lists of runs, by pages. Which index answers which filter is in sql/engine/search.sql.

Each page is one call that reads a bounded number of rows, so a page may be short of what was asked, or empty,
though there is more: then it says how far it has looked, and its cursor goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from openqueue.codec import encode
from openqueue.db.pool import Database
from openqueue.errors import InvalidOption
from openqueue.runs.filter import RunFilter
from openqueue.runs.model import RunInfo

__all__ = ["RunCount", "RunPage", "count_runs", "find_ids", "find_runs", "list_runs"]

MOST_COUNTED: Final = 10_000
COUNTING: Final = 3.0
"""Seconds for which runs are counted."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of runs, in order.

    cursor        give it as `after` to go on; None: there are no more
    searched_to   up to this time, of creation or end as sorted, all was looked at; None: to the end
    """

    runs: tuple[RunInfo, ...]
    cursor: str | None
    searched_to: datetime | None


@dataclass(frozen=True, slots=True)
class RunCount:
    """How many runs there are: exactly, or at least.

    exact         False: there are more than this, or not all was looked at
    searched_to   up to this time, newest first, all was looked at; None: to the end, or until it was enough
    """

    count: int
    exact: bool
    searched_to: datetime | None = None

    def __str__(self) -> str:
        return f"{self.count:,}{'' if self.exact else '+'}"


async def find_runs(database: Database, namespace: str, chosen: RunFilter) -> RunPage:
    """A page of the runs that a filter chooses, found with a bounded amount of work."""
    rows = await database.fetch("search_runs", *_asked(namespace, chosen), chosen.limit)
    found = [dict(row) for row in rows]
    ends = [(row.pop("cursor"), row.pop("searched_to")) for row in found]
    return RunPage(tuple(RunInfo.of(row) for row in found if row["id"] is not None), *ends[0])


async def find_ids(
    database: Database, namespace: str, chosen: RunFilter
) -> tuple[list[UUID], str | None, datetime | None]:
    """The ids of such a page, its cursor, and how far it has looked."""
    row = await database.fetchrow("search_ids", *_asked(namespace, chosen), chosen.limit)
    assert row is not None
    return list(row["ids"]), row["cursor"], row["searched_to"]


async def pages(database: Database, namespace: str, chosen: RunFilter) -> AsyncIterator[RunPage]:
    """Pages until so many runs are found as the filter says, or there are no more."""
    missing = chosen.limit
    while True:
        page = await find_runs(database, namespace, replace(chosen, limit=missing))
        yield page
        missing -= len(page.runs)
        if page.cursor is None or missing <= 0:
            return
        chosen = replace(chosen, after=page.cursor, before=None)


async def list_runs(database: Database, namespace: str, chosen: RunFilter) -> list[RunInfo]:
    """The runs, however long it takes to find as many as there may be."""
    return [run async for page in pages(database, namespace, chosen) for run in page.runs]


async def count_runs(
    database: Database, namespace: str, chosen: RunFilter, *, most: int = MOST_COUNTED
) -> RunCount:
    """How many there are, up to `most`, and as far as can be looked at in a few seconds."""
    if not 1 <= most <= MOST_COUNTED:
        raise InvalidOption(f"most: {most} is not between 1 and {MOST_COUNTED:,}.", option="most")
    count, begin = 0, time.monotonic()
    while True:
        limit = min(most + 1 - count, MOST_COUNTED)
        ids, cursor, searched = await find_ids(database, namespace, replace(chosen, limit=limit))
        count += len(ids)
        if count > most:
            return RunCount(most, exact=False)
        if cursor is None:
            return RunCount(count, exact=True)
        if time.monotonic() - begin > COUNTING:
            return RunCount(count, exact=False, searched_to=searched)
        chosen = replace(chosen, after=cursor, before=None)


def _asked(namespace: str, chosen: RunFilter) -> tuple[str, str, str, bool, str | None]:
    after = chosen.after if chosen.before is None else str(chosen.before)
    return namespace, encode(chosen.words(), what="filter"), chosen.order, not chosen.oldest_first, after
