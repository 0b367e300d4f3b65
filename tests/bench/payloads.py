"""What the size of a job's input costs: enqueue, drain, write-ahead log."""

from __future__ import annotations

import random
import string
import time
from argparse import Namespace

from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drained, drive, fill, tell
from tests.bench.meter import metering
from tests.bench.worker import take

LETTERS = string.ascii_letters + string.digits


def text(size: int) -> str:
    """Text that compresses as little as letters and digits can."""
    return "".join(random.choices(LETTERS, k=size))


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    rows = []
    for kilobytes in arguments.kilobytes:
        jobs = max(100, min(arguments.jobs, arguments.megabytes * 1000 // kilobytes))
        tell(f"{jobs:,} jobs of {kilobytes} KB")
        payloads = [text(kilobytes * 1000) for _ in range(20)]
        dsn = databases.create()
        async with metering(dsn) as meter:
            before = await meter.read()
            begin = time.perf_counter()
            await fill(dsn, (take.item(payloads[number % 20]) for number in range(jobs)))
            seconds = time.perf_counter() - begin
            filled = await meter.read()
            rate = await drained(dsn, jobs)
            after = await meter.read()
        databases.drop(dsn)
        rows.append(
            {
                "KB": kilobytes,
                "jobs": jobs,
                "enqueue/s": jobs / seconds,
                "enqueue MB/s": jobs * kilobytes / 1000 / seconds,
                "drain/s": rate,
                "drain MB/s": rate * kilobytes / 1000,
                "WAL B/job in": (filled - before).wal // jobs,
                "WAL B/job out": (after - filled).wal // jobs,
            }
        )
    return rows


if __name__ == "__main__":
    drive(__doc__, measure, kilobytes=(1, 10, 200), jobs=50_000, megabytes=400)
