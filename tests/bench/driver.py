"""What the drivers share: a server of their own, workers, a table or JSON at the end.

The server writes durably and has production's settings, so that figures say something; it is gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from openqueue.bench.crew import Crew, crew
from openqueue.cli.session import run_async
from openqueue.clients import open_client
from openqueue.runs.client import Client
from openqueue.settings import load_settings
from openqueue.tasks.enqueuer import Item
from openqueue.testing.databases import Databases
from tests.bench import meter
from tests.support.own_server import OwnServer
from tests.support.servers import chosen_binaries

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "max_connections": "300",
    "random_page_cost": "1.1",
    **meter.SETTINGS,
}
CHUNK = 10_000

Row = dict[str, Any]
Measure = Callable[[Databases, argparse.Namespace], Awaitable[Sequence[Row]]]


def drive(about: str, measure: Measure, **options: Any) -> Sequence[Row]:
    """Read the command line (`options`: names with their defaults), measure, print; answers the rows."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name, default in options.items():
        several = isinstance(default, tuple)
        kind = type(default[0]) if several else type(default)
        parser.add_argument(
            f"--{name}", type=kind, default=default, nargs="+" if several else None, help=f"({default})"
        )
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("OPENQUEUE_") and "_TEST_" not in name]:
        del os.environ[name]
    with OwnServer.temporary(chosen_binaries(), SETTINGS) as server:
        databases = Databases(server.dsn(), "drive")
        try:
            rows = run_async(_measured(measure, databases, arguments))
        finally:
            databases.close()
    print(json.dumps(rows, indent=2) if arguments.json else table(rows))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows below their titles."""
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells
    )


def tell(sentence: str) -> None:
    """How far it is: on standard error."""
    print(sentence, file=sys.stderr, flush=True)


@asynccontextmanager
async def client_of(dsn: str) -> AsyncIterator[Client]:
    async with open_client(load_settings(database_url=dsn, dirs=(), statement_timeout="5m")) as client:
        yield client


@asynccontextmanager
async def workers_of(dsn: str, count: int = 1, concurrency: int = 100) -> AsyncIterator[Crew]:
    """Worker processes that wait to be told to go."""
    own = {"database_url": dsn, "concurrency": concurrency}
    async with crew([own] * count, (sys.executable, "-m", "tests.bench.worker")) as workers:
        yield workers


async def fill(dsn: str, items: Iterable[Item[Any]]) -> None:
    """Enqueue them, some thousands in a transaction."""
    rest = iter(items)
    async with client_of(dsn) as client:
        while chunk := [item for _, item in zip(range(CHUNK), rest, strict=False)]:
            await client.enqueue_many(chunk)


async def drained(dsn: str, jobs: int, *, workers: int = 1, concurrency: int = 100) -> float:
    """Jobs a second from the first start until so many are stored."""
    async with workers_of(dsn, workers, concurrency) as crew_of_it:
        crew_of_it.go()
        await crew_of_it.until_stored(jobs)
        return jobs / crew_of_it.busy


async def _measured(measure: Measure, databases: Databases, arguments: argparse.Namespace) -> Sequence[Row]:
    return await measure(databases, arguments)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
