"""What a job costs a server that writes durably: statements, row versions, write-ahead log, by operation."""

from __future__ import annotations

from argparse import Namespace

from openqueue.bench.tasks import idle
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, client_of, drained, drive, fill
from tests.bench.meter import Costs, metering


def row(what: str, jobs: int, costs: Costs) -> Row:
    table = costs.rows["jobs"]
    return {
        "operation": what,
        "jobs": jobs,
        "statements/1,000": costs.statements * 1000 / jobs,
        "rows/job": costs.versions / jobs,
        "HOT": f"{table.hot / table.updated:.1%}" if table.updated else "-",
        "WAL B/job": costs.wal // jobs,
    }


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    dsn, jobs = databases.create(), arguments.jobs
    few = jobs // 10
    rows = []
    async with metering(dsn) as meter:
        marks = [await meter.read()]

        async def note(what: str, count: int) -> None:
            await meter.alone()
            marks.append(await meter.read())
            rows.append(row(what, count, marks[-1] - marks[-2]))

        await fill(dsn, (idle.item(number) for number in range(jobs)))
        await note("enqueue_many", jobs)
        async with client_of(dsn) as client:
            for number in range(few):
                await client.enqueue(idle.item(number))
        await note("enqueue", few)
        await drained(dsn, jobs + few)
        await note("drain", jobs + few)
    return rows


if __name__ == "__main__":
    drive(__doc__, measure, jobs=50_000)
