"""What lies in the tables beside the work: the rate of a drain with history or a backlog, against empty.

Both are filled by SQL, without statistics, as just after a bulk. Each is drained in turn, for several rounds:
medians, and their ratio to the first row.
"""

from __future__ import annotations

import time
from argparse import Namespace
from statistics import median
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
    beside = {"nothing": databases.create()}
    for kind, statement, count in (
        ("finished", FINISHED, arguments.finished),
        ("waiting", READY, arguments.waiting),
    ):
        dsn = beside[f"{count:,} {kind}"] = databases.create()
        await fill_by_sql(dsn, statement, count)
    rates: dict[str, list[float]] = {name: [] for name in beside}
    for _ in range(arguments.rounds):
        for name, dsn in beside.items():
            if not name.endswith("waiting"):
                await fill(dsn, (idle.item(number) for number in range(jobs)))
            await checkpoint(dsn)
            rates[name].append(await drained(dsn, jobs))
            tell(f"beside {name}: {rates[name][-1]:,.0f} a second")
    middle = {name: median(every) for name, every in rates.items()}
    return [
        {"beside": name, "jobs": jobs, "jobs/s": middle[name], "ratio": middle[name] / middle["nothing"]}
        for name in beside
    ]


async def checkpoint(dsn: str) -> None:
    """What was written is on the disk: writing it is no part of what follows."""
    db = await asyncpg.connect(dsn)
    try:
        await db.execute("CHECKPOINT")
    finally:
        await db.close()


if __name__ == "__main__":
    drive(__doc__, measure, jobs=100_000, finished=10_000_000, waiting=5_000_000, rounds=3)
