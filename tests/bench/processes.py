"""More worker processes on one database: tasks that do nothing, so that the database is the bound."""

from __future__ import annotations

from argparse import Namespace

from openqueue.bench.tasks import idle, work
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drained, drive, fill, tell
from tests.bench.meter import metering


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    rows: list[Row] = []
    for count in arguments.workers:
        tell(f"{count} workers, {arguments.jobs:,} jobs")
        dsn = databases.create()
        seconds = arguments.milliseconds / 1000
        one = work.item(seconds) if seconds else None
        await fill(dsn, (one or idle.item(number) for number in range(arguments.jobs)))
        async with metering(dsn) as meter:
            before = await meter.read()
            rate = await drained(dsn, arguments.jobs, workers=count)
            await meter.alone()
            costs = await meter.read() - before
        databases.drop(dsn)
        rows.append(
            {
                "workers": count,
                "jobs/s": rate,
                "to the first": rate / rows[0]["jobs/s"] if rows else 1.0,
                "statements/1,000": costs.statements * 1000 / arguments.jobs,
                "rows/job": costs.versions / arguments.jobs,
                "WAL B/job": costs.wal // arguments.jobs,
            }
        )
    return rows


if __name__ == "__main__":
    drive(__doc__, measure, workers=(1, 2, 4, 8, 16), jobs=200_000, milliseconds=0)
