"""What lies in the tables beside the work: the rate of a drain with history or a backlog, against empty.

Both are filled by SQL, without statistics, as just after a bulk; the ratio is that to the first row.
"""

from __future__ import annotations

import time
from argparse import Namespace
from uuid import uuid4

import asyncpg

from openqueue.bench.tasks import idle
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drained, drive, fill, tell
from tests.engine.test_plans import FINISHED, READY

CHUNK = 500_000
LANE = "INSERT INTO lanes (namespace, queue, priority) VALUES ('default', 'default', 0)"


async def fill_by_sql(dsn: str, statement: str, count: int) -> None:
    """Runs of the task that does nothing: finished, or ready."""
    begin = time.monotonic()
    db = await asyncpg.connect(dsn, server_settings={"search_path": "openqueue"})
    try:
        more = (uuid4(),) if statement is FINISHED else ()
        for done in range(0, count, CHUNK):
            await db.execute(statement, idle.name, min(CHUNK, count - done), *more)
        if statement is READY:
            await db.execute(LANE)
    finally:
        await db.close()
    tell(f"{count:,} rows in {time.monotonic() - begin:.0f} s")


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    jobs = arguments.jobs
    rates: dict[str, float] = {}
    for beside, statement, count in (
        ("nothing", "", 0),
        (f"{arguments.finished:,} finished", FINISHED, arguments.finished),
        (f"{arguments.waiting:,} waiting", READY, arguments.waiting),
    ):
        dsn = databases.create()
        if statement:
            await fill_by_sql(dsn, statement, count)
        if statement is not READY:
            await fill(dsn, (idle.item(number) for number in range(jobs)))
        rates[beside] = await drained(dsn, jobs)
        databases.drop(dsn)
    return [
        {"beside": beside, "jobs": jobs, "jobs/s": rate, "ratio": rate / rates["nothing"]}
        for beside, rate in rates.items()
    ]


if __name__ == "__main__":
    drive(__doc__, measure, jobs=100_000, finished=10_000_000, waiting=5_000_000)
