"""How late ticks are enqueued: many schedules, of which some fire each second and a crowd all ten.

`late` is the time from a tick's own to the leader's knowing that its run is stored, by the database's clock.
The worker that leads also runs what is enqueued.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace

import asyncpg

from openqueue.app import open_worker
from openqueue.bench.tasks import QUEUE, idle
from openqueue.events import Events
from openqueue.scheduler.events import SchedulesLoaded, TickFired
from openqueue.settings import load_settings
from openqueue.tasks.registry import Registry
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drive, tell

ADD = """
    SELECT openqueue.add_schedule($1::text || ' ' || n, $2::text, '{"number": 1}', cron => $3::text)
    FROM generate_series(1, $4::integer) n"""
KINDS = {"each second": "* * * * * *", "together": "*/10 * * * * *", "rarely": "0 0 1 1 *"}
SHARES = {"p50": 0.5, "p99": 0.99, "latest": 1.0}


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    counts = {
        "each second": arguments.steady,
        "together": arguments.together,
        "rarely": arguments.schedules - arguments.together - arguments.steady,
    }
    dsn = databases.create()
    db = await asyncpg.connect(dsn)
    for kind, count in counts.items():
        await db.execute(
            ADD,
            kind,
            idle.name,
            KINDS[kind],
            count,
        )
    await db.close()
    late: dict[str, list[float]] = {kind: [] for kind in counts}
    loaded = asyncio.Event()
    bus = Events()
    bus.subscribe(SchedulesLoaded, lambda _: loaded.set())
    bus.subscribe(TickFired, lambda one: late[one.schedule.rsplit(" ", 1)[0]].append(one.late))
    settings = load_settings(database_url=dsn, dirs=(), health="off", queues={QUEUE: None})
    async with open_worker(settings, registry=Registry([idle]), bus=bus) as worker:
        stop = asyncio.Event()
        working = asyncio.create_task(worker.run(stop))
        await loaded.wait()
        await asyncio.sleep(5)
        for ticks in late.values():
            ticks.clear()
        tell(f"{arguments.schedules:,} schedules for {arguments.seconds} s")
        await asyncio.sleep(arguments.seconds)
        stop.set()
        await working
    databases.drop(dsn)
    return [_row(kind, counts[kind], sorted(ticks)) for kind, ticks in late.items() if ticks]


def _row(kind: str, schedules: int, late: list[float]) -> Row:
    return {
        "fire": kind,
        "schedules": schedules,
        "ticks": len(late),
        **{f"{name} ms": 1000 * late[int(share * (len(late) - 1))] for name, share in SHARES.items()},
    }


if __name__ == "__main__":
    drive(__doc__, measure, schedules=10_000, together=1_000, steady=10, seconds=60)
