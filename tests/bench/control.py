"""What control costs: jobs a second where limits, rates, groups or pauses hold, to the same jobs without any.

In front of the jobs that are counted there may stand others that cannot run: they should slow nobody.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg

from openqueue.bench.tasks import idle, mark
from openqueue.tasks.enqueuer import Item
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drained, drive, fill, tell
from tests.bench.worker import keyed, serial

RATE = """
    SELECT count(*) / extract(epoch FROM max(started_at) - min(started_at))::float8 FROM openqueue.attempts"""


@dataclass(frozen=True)
class Case:
    """What is said first (set_control: kind, name, change), what stands in front, and what is counted."""

    name: str
    items: Callable[[int], Iterable[Item[Any]]]
    said: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    front: Callable[[int], Iterable[Item[Any]]] | None = None
    most: int = 10**9


def plain(count: int) -> Iterable[Item[Any]]:
    return (idle.item(number) for number in range(count))


def with_keys(keys: int, task: Any = keyed) -> Callable[[int], Iterable[Item[Any]]]:
    return lambda count: (task.item(number % keys) for number in range(count))


def grouped(groups: int) -> Callable[[int], Iterable[Item[Any]]]:
    return lambda count: (idle.options(group=f"g{number % groups}").item(number) for number in range(count))


def others(count: int) -> Iterable[Item[Any]]:
    return (mark.item(float(number)) for number in range(count))


STUCK = tuple(("key", str(key), {"concurrency": 0}) for key in range(2))
FAIR = (("queue", "bench", {"fairness": "round_robin"}),)

CASES = (
    Case("nothing", plain),
    Case("a limit on another queue", plain, (("queue", "other", {"concurrency": 5}),)),
    Case("two keys that are full in front", plain, STUCK, with_keys(2)),
    Case("a task that is full in front", plain, (("task", "bench.mark", {"concurrency": 0}),), others),
    Case("a limit of 50 on the queue", plain, (("queue", "bench", {"concurrency": 50}),)),
    Case("1,000 keys, one of each at once", with_keys(1000, serial)),
    Case("1,000 keys, two of each at once", with_keys(1000)),
    Case("10,000 keys, two of each at once", with_keys(10_000)),
    Case(
        "one serial key",
        lambda count: (keyed.options(concurrency_key="one").item(n) for n in range(count)),
        most=5_000,
    ),
    Case("10 groups in turn", grouped(10), FAIR),
    Case("10,000 groups in turn", grouped(10_000), FAIR),
    Case("1,000 a second", plain, (("queue", "bench", {"rate": 1000, "period": "1 s"}),), most=10_000),
)


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    rows: list[Row] = []
    for case in CASES:
        if arguments.only and arguments.only not in case.name:
            continue
        jobs = min(arguments.jobs, case.most)
        tell(f"{case.name}: {jobs:,} jobs")
        dsn = databases.create()
        db = await asyncpg.connect(dsn)
        for kind, name, change in case.said:
            await db.execute(
                "SELECT openqueue.set_control($1, $2, $3::text::jsonb)", kind, name, json.dumps(change)
            )
        if case.front is not None:
            await fill(dsn, case.front(arguments.front))
        await fill(dsn, case.items(jobs))
        rate = await drained(dsn, jobs, workers=arguments.workers)
        started = await db.fetchval(RATE)
        await db.close()
        databases.drop(dsn)
        first = rows[0]["jobs/s"] if rows else rate
        rows.append(
            {
                "case": case.name,
                "jobs": jobs,
                "jobs/s": rate,
                "started/s": started,
                "to the first": rate / first,
            }
        )
    return rows


if __name__ == "__main__":
    drive(__doc__, measure, jobs=50_000, front=100_000, workers=1, only="")
