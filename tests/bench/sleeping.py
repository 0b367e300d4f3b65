"""Tasks that wait, as those of users do: which share of the ideal throughput is reached.

Ideal is concurrency divided by a task's seconds; `bare/s` is what coroutines reach that do nothing but sleep
so long again and again, on this machine at this moment: an event loop wakes late, too. Where the ideal is
more than one worker can do at all (see the shortest tasks), the share says nothing but this.
"""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace

from openqueue.bench.tasks import work
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drained, drive, fill, tell

MOST_A_SECOND = 20_000
BARE_SECONDS = 2.0


async def bare(seconds: float, concurrency: int) -> float:
    """Sleeps a second of so many coroutines."""
    slept, begin = 0, time.perf_counter()

    async def sleep() -> None:
        nonlocal slept
        while time.perf_counter() - begin < BARE_SECONDS:
            await asyncio.sleep(seconds)
            slept += 1

    await asyncio.gather(*(sleep() for _ in range(concurrency)))
    return slept / (time.perf_counter() - begin)


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    rows = []
    for milliseconds in arguments.milliseconds:
        for concurrency in arguments.concurrency:
            ideal = concurrency * 1000 / milliseconds
            jobs = int(max(2 * concurrency, min(ideal, MOST_A_SECOND) * arguments.seconds))
            tell(f"{jobs:,} tasks of {milliseconds} ms, {concurrency} at a time")
            dsn = databases.create()
            await fill(dsn, (work.item(milliseconds / 1000) for _ in range(jobs)))
            rate = await drained(dsn, jobs, concurrency=concurrency)
            databases.drop(dsn)
            rows.append(
                {
                    "task ms": milliseconds,
                    "concurrency": concurrency,
                    "jobs": jobs,
                    "jobs/s": rate,
                    "bare/s": await bare(milliseconds / 1000, concurrency),
                    "ideal/s": ideal,
                    "share": rate / ideal,
                }
            )
    return rows


if __name__ == "__main__":
    drive(__doc__, measure, milliseconds=(1, 10, 100), concurrency=(10, 100, 1000), seconds=10.0)
