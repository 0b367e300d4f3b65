"""Twenty queues in one worker, each with its own rate: how long the jobs of each wait for their start.

The first queue gets one job a second, the next two, and so on; `--load` multiplies the rates.
"""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace

from openqueue.bench.tasks import idle
from openqueue.runs.client import Client
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, client_of, drive, workers_of

WAITED = """
    SELECT r.queue, count(*) AS jobs,
        percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (
            ORDER BY 1000 * extract(epoch FROM a.started_at - r.run_at)) AS ms
    FROM run_requests r JOIN attempts a ON a.run_id = r.id GROUP BY 1 ORDER BY 1"""


async def feed(client: Client, queue: str, rate: float, seconds: float) -> int:
    """Enqueue so many a second, evenly; a feeder that is late catches up."""
    begin, number = time.monotonic(), 0
    while number < rate * seconds:
        await asyncio.sleep(begin + number / rate - time.monotonic())
        await client.enqueue(idle.options(queue=queue).item(number))
        number += 1
    return number


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    dsn = databases.create()
    rates = {f"q{number:02}": number * arguments.load for number in range(1, arguments.queues + 1)}
    async with workers_of(dsn) as workers, client_of(dsn) as client:
        workers.go()
        fed = await asyncio.gather(
            *(feed(client, queue, rate, arguments.seconds) for queue, rate in rates.items())
        )
        await workers.until_stored(sum(fed))
        async with client.database.connection() as connection:
            await connection.execute("SET search_path = openqueue")
            rows = await connection.fetch(WAITED)
    return [
        {"queue": row["queue"], "jobs/s": rates[row["queue"]], "jobs": row["jobs"]}
        | {"p50 ms": row["ms"][0], "p99 ms": row["ms"][1]}
        for row in rows
    ]


if __name__ == "__main__":
    drive(__doc__, measure, queues=20, load=1.0, seconds=20.0)
