"""The list of runs, printed page by page: however long it is, only one page of it is in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from openqueue.cli.output import Column, JsonArray, Table, error_line, say, took, when
from openqueue.cli.session import client

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.history import RunFilter
    from openqueue.runs.model import RunInfo
    from openqueue.settings import Settings

__all__ = ["print_runs"]

PAGE = 500
"""Runs that are fetched at a time."""


async def print_runs(settings: Settings, chosen: RunFilter, most: int, *, as_json: bool) -> None:
    """Print the newest `most` runs of a filter."""
    async with client(settings) as opened:
        if as_json:
            await _print_json(opened, chosen, most)
        else:
            await _print_table(opened, chosen, most)


async def _print_json(opened: Client, chosen: RunFilter, most: int) -> None:
    array = JsonArray()
    async for page in _pages(opened, chosen, most):
        array.add(page)
    array.end()


async def _print_table(opened: Client, chosen: RunFilter, most: int) -> None:
    table, last = Table(_COLUMNS), None
    async for page in _pages(opened, chosen, most):
        table.add(page)
        last = page[-1].id
    if last is None:
        say("No runs were found.")
    elif table.rows == most:
        say(f"There may be more: --before {last}")


async def _pages(opened: Client, chosen: RunFilter, most: int) -> AsyncIterator[Sequence[RunInfo]]:
    before: UUID | None = chosen.before
    while most > 0:
        size = min(most, PAGE)
        page = await opened.list_runs(replace(chosen, before=before, limit=size))
        if page:
            yield page
        if len(page) < size:
            return
        before, most = page[-1].id, most - size


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
