"""Tasks that wait, as those of users do: which share of the ideal throughput is reached.

Ideal is concurrency divided by a task's seconds. Where that is more than one worker can do at all (see the
rate of the shortest tasks), the share says nothing but this.
"""

from __future__ import annotations

from argparse import Namespace

from openqueue.bench.tasks import work
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drained, drive, fill, tell

MOST_A_SECOND = 20_000


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
                    "ideal/s": ideal,
                    "share": rate / ideal,
                }
            )
    return rows


if __name__ == "__main__":
    drive(__doc__, measure, milliseconds=(1, 10, 100), concurrency=(10, 100, 1000), seconds=10.0)
