"""The scenarios: each on an empty schema of its own, each counted when it has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from openqueue.bench.crew import Crew, crew
from openqueue.bench.report import Options, Result
from openqueue.bench.tasks import idle, mark, work
from openqueue.clients import open_client
from openqueue.errors import OpenQueueError
from openqueue.runs.client import Client
from openqueue.settings import Settings
from openqueue.tasks.enqueuer import Item

__all__ = ["Run", "measure"]

AT_ONCE: Final = 50
"""Calls of enqueue at a time."""

FILL: Final = 10_000
"""Jobs a call, where they only have to be there."""

EVERY: Final = 0.05
"""Seconds between jobs for idle workers."""

WARM_UP: Final = 20
"""Jobs whose wait is not counted: the workers have just started."""

TASK_SECONDS: Final = 0.005
BATCH: Final = 100

Progress = Callable[[float], None]
"""Called with the share of a scenario that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a scenario works with: its settings name a schema that is its own and empty."""

    settings: Settings
    options: Options
    progress: Progress

    def crew(self) -> Any:
        """The workers, ready."""
        url = self.settings.database_url
        own: Mapping[str, Any] = {
            "database_url": url.get_secret_value() if url else None,
            "schema_name": self.settings.schema_name,
            "concurrency": self.options.concurrency,
        }
        return crew([own] * self.options.workers)


async def measure(name: str, run: Run) -> Result:
    """Run the scenario of this name.

    Raises OpenQueueError when the database does not have exactly what was enqueued.
    """
    async with open_client(run.settings) as client:
        result, jobs = await _SCENARIOS[name](client, run)
        row = await client.database.fetchrow("bench_counts")
    assert row is not None
    done = 0 if name.startswith("enqueue") else jobs
    if (row["asked"], row["completed"], row["unfinished"]) != (jobs, done, jobs - done):
        raise OpenQueueError(
            f"{name}: of {jobs} jobs, {done} of which should have been run, the database has {row['asked']};"
            f" {row['completed']} are completed and {row['unfinished']} unfinished. The figure was dropped."
        )
    return result


async def _enqueue_many(client: Client, run: Run) -> tuple[Result, int]:
    jobs = run.options.jobs

    def items() -> Iterator[Item[None]]:
        for number in range(jobs):
            if number % 1000 == 0:
                run.progress(number / jobs)
            yield idle.item(number)

    begin = time.perf_counter()
    await client.enqueue_many(items())
    return Result.of("enqueue-many", jobs, time.perf_counter() - begin), jobs


async def _enqueue(client: Client, run: Run) -> tuple[Result, int]:
    jobs = max(1, run.options.jobs // 10)
    await asyncio.gather(*(client.enqueue(idle.item(0)) for _ in range(AT_ONCE)))  # connections are open now
    numbers = iter(range(jobs))
    times: list[float] = []

    async def caller() -> None:
        for number in numbers:
            begin = time.perf_counter()
            await client.enqueue(idle.item(number))
            times.append(time.perf_counter() - begin)
            if number % 100 == 0:
                run.progress(number / jobs)

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return Result.of("enqueue", jobs, time.perf_counter() - begin, times), AT_ONCE + jobs


async def _drain(client: Client, run: Run) -> tuple[Result, int]:
    jobs = run.options.jobs
    for start in range(0, jobs, FILL):
        await client.enqueue_many(idle.item(number) for number in range(start, min(start + FILL, jobs)))
    async with run.crew() as workers:
        workers.go()
        await _watch(run, workers, jobs)
        return Result.of("drain", jobs, workers.busy), jobs


async def _latency(client: Client, run: Run) -> tuple[Result, int]:
    jobs = max(1, round(run.options.seconds / EVERY))
    async with run.crew() as workers:
        workers.go()
        await _one_by_one(client, WARM_UP, lambda _share: None)
        await workers.until_stored(WARM_UP)
        for one in workers.waits:
            one.clear()
        begin = time.monotonic()
        await _one_by_one(client, jobs, run.progress)
        seconds = time.monotonic() - begin
        await workers.until_stored(WARM_UP + jobs)
        waits = [wait for one in workers.waits for wait in one]
    return Result.of("latency", len(waits), seconds, waits, rate=False), WARM_UP + jobs


async def _one_by_one(client: Client, jobs: int, progress: Progress) -> None:
    due = time.monotonic()
    for number in range(jobs):
        await asyncio.sleep(due - time.monotonic())
        await client.enqueue(mark.item(time.monotonic()))
        due += EVERY
        progress(number / jobs)


async def _mixed(client: Client, run: Run) -> tuple[Result, int]:
    """As many jobs wait as the workers can run at once, and a batch more."""
    places = run.options.concurrency * run.options.workers
    ahead = places + max(BATCH, places)
    seconds, asked = run.options.seconds, 0
    async with run.crew() as workers:
        workers.go()
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            run.progress((now - begin) / seconds)
            await workers.until_stored(asked - ahead)
            await client.enqueue_many([work.item(TASK_SECONDS) for _ in range(BATCH)])
            asked += BATCH
        await workers.until_stored(asked)
        return Result.of("mixed", asked, workers.busy), asked


async def _watch(run: Run, workers: Crew, jobs: int) -> None:
    for part in range(1, 101):
        await workers.until_stored(jobs * part // 100)
        run.progress(part / 100)


_SCENARIOS: Mapping[str, Callable[[Client, Run], Awaitable[tuple[Result, int]]]] = {
    "enqueue-many": _enqueue_many,
    "enqueue": _enqueue,
    "drain": _drain,
    "latency": _latency,
    "mixed": _mixed,
}
