"""A worker's memory over a million jobs: at most 60 MB over what it has idle, and flat in the second half.

`--lines 20` has every task log so much: what is said and not written yet may take 25 MB more, early on. Jobs
are enqueued while they are run, so that the worker's memory is what grows, if anything does. Ends with 1 if a
bound is missed.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from pathlib import Path

from openqueue.bench.crew import Crew
from openqueue.bench.tasks import idle
from openqueue.testing.databases import Databases
from tests.bench.driver import CHUNK, Row, client_of, drive, tell, workers_of
from tests.bench.worker import talk

OVER_IDLE, GROWTH = 60.0, 5.0
"""Megabytes: after all jobs over idle, and of the last quarter over the third."""

UNWRITTEN = 25.0
"""Megabytes of lines that a journal keeps until they are written: 50,000 at most, of some 450 bytes here."""

SAMPLES = 40


def resident(pid: int) -> float:
    """Megabytes of a process in memory now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    dsn = databases.create()
    async with workers_of(dsn) as workers:
        workers.go()
        async with client_of(dsn) as client:  # what is imported late is imported now
            await client.enqueue(talk.item(arguments.lines) if arguments.lines else idle.item(0))
        await workers.until_stored(1)
        return await run(dsn, workers, arguments, resident(workers.pids[0]))


async def run(dsn: str, workers: Crew, arguments: Namespace, at_rest: float) -> list[Row]:
    jobs, samples = arguments.jobs, [at_rest]
    tell(f"idle: {at_rest:.1f} MB")
    async with client_of(dsn) as client:
        asked = 0
        for number in range(1, SAMPLES + 1):
            while asked < jobs * number // SAMPLES:
                count = min(CHUNK, jobs * number // SAMPLES - asked)
                await client.enqueue_many(
                    talk.item(arguments.lines) if arguments.lines else idle.item(one) for one in range(count)
                )
                asked += count
            await workers.until_stored(1 + max(0, asked - jobs // SAMPLES))
            samples.append(resident(workers.pids[0]))
            tell(f"{asked:,}: {samples[-1]:.1f} MB")
    await workers.until_stored(1 + jobs)
    await asyncio.sleep(1)  # what is at rest now
    third, last = samples[SAMPLES // 2 : SAMPLES * 3 // 4], samples[SAMPLES * 3 // 4 :]
    after = resident(workers.pids[0])
    row: Row = {
        "jobs": jobs,
        "log lines": arguments.lines,
        "idle MB": at_rest,
        "highest MB": max(samples),
        "after MB": after,
        "over idle MB": after - at_rest,
        "last quarter MB": sum(last) / len(last) - sum(third) / len(third),
    }
    row["kept"] = (
        row["over idle MB"] <= OVER_IDLE + (UNWRITTEN if arguments.lines else 0)
        and row["last quarter MB"] <= GROWTH
    )
    return [row]


if __name__ == "__main__":
    if not drive(__doc__, measure, jobs=1_000_000, lines=0)[0]["kept"]:
        sys.exit(1)
