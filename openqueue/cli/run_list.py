"""The list of runs, printed page by page: however long it is, only one page of it is in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from openqueue.cli.output import Column, JsonArray, Table, error_line, say, show_json, took, when
from openqueue.cli.session import client
from openqueue.cli.unknown import tell_unknown

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.filter import RunFilter
    from openqueue.runs.model import RunInfo
    from openqueue.settings import Settings

__all__ = ["print_count", "print_runs", "print_sample"]

PAGE = 500
"""Runs that are fetched at a time."""

PATIENCE = 5.0
"""Seconds for which a list goes on looking without finding anything."""


async def print_runs(settings: Settings, chosen: RunFilter, most: int, *, as_json: bool) -> None:
    """Print the first `most` runs of a filter, in its order."""
    async with client(settings) as opened:
        pages = Pages(opened, chosen, most)
        if as_json:
            array = JsonArray()
            async for runs in pages:
                array.add(runs)
            array.end()
        else:
            table = Table(_COLUMNS)
            async for runs in pages:
                table.add(runs)
            if not table.rows and pages.searched_to is None:
                say("No runs were found.")
        pages.tell(as_json=as_json)
        if not pages.found:
            await tell_unknown(opened, chosen)


async def print_count(settings: Settings, chosen: RunFilter, *, as_json: bool) -> None:
    """Print how many runs there are of a filter."""
    async with client(settings) as opened:
        counted = await opened.count_runs(chosen)
        if not counted.count:
            await tell_unknown(opened, chosen)
    if as_json:
        show_json(counted)
        return
    print(counted)
    if counted.searched_to is not None:
        say(f"Searched {_way(chosen)} to {when(counted.searched_to)}, as far as can be counted in time.")


async def print_sample(opened: Client, chosen: RunFilter, most: int = 5) -> None:
    """Print the first few of the runs that a filter chooses."""
    table = Table(_COLUMNS)
    async for runs in Pages(opened, chosen, most):
        table.add(runs)


class Pages:
    """The pages of a list, until it has so many runs, or nothing was found for a while."""

    def __init__(self, opened: Client, chosen: RunFilter, most: int) -> None:
        self.searched_to: datetime | None = None
        self.found = 0
        self._client = opened
        self._chosen = chosen
        self._missing = most
        self._cursor: str | None = None

    async def __aiter__(self) -> AsyncIterator[Sequence[RunInfo]]:
        begin = time.monotonic()
        while self._missing > 0:
            size = min(self._missing, PAGE)
            page = await self._client.find_runs(replace(self._chosen, limit=size))
            self._cursor, self._missing = page.cursor, self._missing - len(page.runs)
            self.found += len(page.runs)
            if page.runs:
                begin = time.monotonic()
                yield page.runs
            if page.cursor is None:
                return
            if time.monotonic() - begin > PATIENCE:
                self.searched_to = page.searched_to
                return
            self._chosen = replace(self._chosen, before=None, after=page.cursor)

    def tell(self, *, as_json: bool) -> None:
        """Say how to go on, if there may be more."""
        if self._cursor is None or (as_json and self.searched_to is None):
            return
        by_id = self._chosen.order == "created" and not self._chosen.oldest_first
        further = f"{'--before' if by_id else '--after'} {self._cursor}"
        if self.searched_to is not None:
            say(f"Searched {_way(self._chosen)} to {when(self.searched_to)}. Go on with {further}")
        else:
            say(f"There may be more: {further}")


def _way(chosen: RunFilter) -> str:
    return "on" if chosen.oldest_first else "back"


_COLUMNS: tuple[Column[RunInfo], ...] = (
    Column("ID", lambda run: str(run.id)),
    Column("STATUS", lambda run: run.status, rank=1),
    Column("TASK", lambda run: run.task, least=10, rank=2),
    Column("QUEUE", lambda run: run.queue, least=7, rank=6),
    Column("TRY", lambda run: f"{run.attempt}/{run.max_attempts}", rank=5, right=True),
    Column("ENQUEUED", lambda run: when(run.created_at), rank=3),
    Column("TOOK", lambda run: took(run.started_at, run.finished_at), rank=4, right=True),
    Column("ERROR", lambda run: error_line(run.error), least=12, rank=7),
)
