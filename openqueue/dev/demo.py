"""A short tour of openqueue on real files: what `openqueue demo` shows.

Every file of a directory becomes a run; beside them one run that fails at first, one that is delayed and one
that is cancelled. Client and worker share this process here; usually they are programs of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from openqueue.app import open_worker
from openqueue.clients import open_client
from openqueue.db.migrations import migrate
from openqueue.errors import RunCancelled
from openqueue.runs.client import Client
from openqueue.runs.model import Run, RunEvent
from openqueue.settings import Settings, load_settings
from openqueue.tasks.context import Context
from openqueue.tasks.task import task

__all__ = ["MOST_FILES", "Tour", "files_below", "tour"]

MOST_FILES = 2_000
LARGEST_FILE = 1024 * 1024

Tell = Callable[[str], None]


@task(name="demo.index_file", queue="files")
def index_file(path: str) -> dict[str, Any]:
    """Read one file: its kind, its size, its lines, its hash."""
    data = Path(path).read_bytes()
    kind = Path(path).suffix or "(none)"
    return {"kind": kind, "bytes": len(data), "lines": data.count(b"\n"), "sha256": sha256(data).hexdigest()}


@task(name="demo.ask_service", max_attempts=5, backoff="200ms")
async def ask_service(name: str, *, ctx: Context = Context.injected) -> str:
    """Fail twice, as services do, and answer the third time."""
    ctx.log.info("asking", service=name)
    if ctx.attempt < 3:
        raise ConnectionError(f"{name} is away")
    return f"{name} answers"


@task(name="demo.remind")
async def remind(whom: str) -> str:
    """Run later than it was asked for."""
    return f"{whom} was reminded"


@task(name="demo.endless")
async def endless() -> None:
    """Run until it is cancelled."""
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Tour:
    """What the tour saw: files and lines by kind, the seconds they took, the run that failed at first."""

    kinds: Counter[str]
    lines: Counter[str]
    seconds: float
    timeline: list[RunEvent]
    failed_first: Run[str]


async def tour(dsn: str, files: list[Path], tell: Tell) -> Tour:
    """Run the tour on an empty database and say what happens."""
    settings = load_settings(database_url=dsn, dirs=(), modules=[__name__], queues=(), health="off")
    await migrate(dsn, settings.schema_name)
    tell("The schema is made: a few tables and functions, all in one schema of that database.")
    async with open_client(settings) as client, _working(settings):
        tell("A worker runs.")
        unreliable = await client.enqueue(ask_service.item("the weather service"))
        delayed = await client.enqueue(remind.options(delay="1s").item("Ada"))
        doomed = await client.enqueue(endless.item())
        results, seconds = await _index(client, files, tell)
        tell(f"Fails twice, is retried, answers: {await unreliable.result('30s')!r}")
        tell(f"Delayed by a second: {await delayed.result('30s')!r}")
        tell(f"Cancelled while it ran: {await _cancel(doomed)}")
        timeline = list(await unreliable.events())
    kinds, lines = Counter[str](), Counter[str]()
    for one in results:
        kinds[one["kind"]] += 1
        lines[one["kind"]] += one["lines"]
    return Tour(kinds, lines, seconds, timeline, unreliable)


def files_below(directory: Path) -> Iterator[Path]:
    """Regular files of a readable size, without hidden ones and caches; at most 2,000."""
    found = 0
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if any(part.startswith((".", "__pycache__")) for part in parts) or not path.is_file():
            continue
        if path.stat().st_size <= LARGEST_FILE and found < MOST_FILES:
            found += 1
            yield path


async def _index(client: Client, files: list[Path], tell: Tell) -> tuple[list[dict[str, Any]], float]:
    begin = time.perf_counter()
    runs = await client.enqueue_many([index_file.item(str(path)) for path in files])
    tell(f"Files enqueued: {len(runs):,}, in one statement: {(time.perf_counter() - begin) * 1000:.0f} ms.")
    results = await asyncio.gather(*(run.result("60s") for run in runs))
    seconds = time.perf_counter() - begin
    tell(f"Files indexed: {len(runs):,}, each a run with a history of its own, in {seconds:.2f} s.")
    return results, seconds


async def _cancel(run: Run[None]) -> str:
    await run.cancel("the tour is over")
    try:
        await run.result("30s")
    except RunCancelled:
        return "its task got a CancelledError, the run is kept as 'cancelled'"
    return "it was faster"


@asynccontextmanager
async def _working(settings: Settings) -> AsyncIterator[None]:
    """A worker in this event loop, until the block ends."""
    stop = asyncio.Event()
    async with open_worker(settings) as worker:
        working = asyncio.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()
            await working
