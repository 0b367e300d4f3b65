"""What work costs the server, in numbers that a machine's speed does not change.

A bound is about half as much again as what was counted when it was written: what doubles a cost fails.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from openqueue import task
from openqueue.app import open_worker
from openqueue.clients import open_client
from openqueue.events import Events
from openqueue.settings import Settings, load_settings
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.worker.events import BellChanged, JobsReleased
from tests.bench.meter import Costs, Meter
from tests.support.eventually import eventually
from tests.support.worker_here import working

pytestmark = pytest.mark.database

MANY, SINGLE = 10_000, 1_000


@task(name="noop")
async def noop(number: int) -> None:
    pass


def settings(dsn: str) -> Settings:
    return load_settings(database_url=dsn, dirs=(), health="off")


async def fill(dsn: str, jobs: int = MANY) -> None:
    async with open_client(settings(dsn)) as client:
        await client.enqueue_many(noop.item(number) for number in range(jobs))


async def drained(dsn: str, noop: Task[..., None]) -> int:
    """Run what waits, 1,000 at once; answers how many jobs claimed ahead went back."""
    bus, returned = Events(), list[JobsReleased]()
    bus.subscribe(JobsReleased, returned.append)
    wide = settings(dsn).model_copy(update={"concurrency": 1_000})
    async with open_worker(wide, registry=Registry([noop]), bus=bus) as worker:
        await worker.drain()
    return sum(event.jobs for event in returned)


async def spent(meter: Meter, before: Costs) -> Costs:
    """Since then; every session has ended."""
    await meter.alone()
    costs = await meter.read() - before
    print(f"{costs.statements} statements, {costs.versions} row versions, {costs.wal:,} bytes of WAL")
    print(*costs.calls.most_common(12), *costs.rows.items(), sep="\n")
    return costs


async def test_bulk_enqueue(quiet_dsn: str, meter: Meter) -> None:
    await fill(
        quiet_dsn, 4_000
    )  # the lane is there, and full are the first pages, which BRIN sums up as they fill
    await meter.alone()
    before = await meter.read()
    await fill(quiet_dsn)
    costs = await spent(meter, before)
    assert costs.rows["jobs"].inserted == costs.rows["run_requests"].inserted == MANY
    assert costs.versions == 2 * MANY
    assert costs.statements <= 30
    assert costs.wal <= 600 * MANY


async def test_drain(quiet_dsn: str, meter: Meter) -> None:
    """With 1,000 places, so that it is not the machine's speed that decides how much a claim takes."""
    await fill(quiet_dsn)
    await meter.alone()
    before, begin = await meter.read(), time.monotonic()
    returned = await drained(quiet_dsn, noop)
    costs = await spent(meter, before)
    jobs, attempts = costs.rows["jobs"], costs.rows["attempts"]
    assert (attempts.inserted, jobs.deleted, jobs.inserted) == (MANY, MANY, 0)
    again = (
        2 * returned
    )  # where the machine stands still for half a second, some go back and are claimed anew
    assert jobs.updated == jobs.hot == MANY + again
    assert costs.versions <= 3 * MANY + again + 100
    assert sum(rows.scanned for rows in costs.rows.values()) <= 20  # no table of runs is read as a whole
    claims, finishes = costs.of("claim_jobs") + costs.of("claim_lane"), costs.of("finish_jobs")
    assert claims <= 18
    assert finishes <= 18
    seconds = time.monotonic() - begin  # in which it beats, and looks for what others left
    assert costs.statements - claims - finishes <= 50 + 2 * seconds
    assert costs.wal <= 800 * MANY + 400 * again


async def test_enqueues_one_after_the_other(quiet_dsn: str, meter: Meter) -> None:
    await fill(quiet_dsn, 1)
    await meter.alone()
    before = await meter.read()
    async with open_client(settings(quiet_dsn)) as client:
        for number in range(SINGLE):
            await client.enqueue(noop.item(number))
    costs = await spent(meter, before)
    assert costs.rows["jobs"].inserted == costs.rows["run_requests"].inserted == SINGLE
    assert costs.versions == 2 * SINGLE
    assert SINGLE <= costs.statements <= SINGLE + 30
    assert costs.wal <= 900 * SINGLE


async def test_enqueues_at_the_same_time_share_statements(quiet_dsn: str, meter: Meter) -> None:
    await fill(quiet_dsn, 1)
    await meter.alone()
    before = await meter.read()
    async with open_client(settings(quiet_dsn)) as client:
        await asyncio.gather(*(client.enqueue(noop.item(number)) for number in range(SINGLE)))
    costs = await spent(meter, before)
    assert costs.rows["jobs"].inserted == SINGLE
    assert costs.versions == 2 * SINGLE
    assert costs.of("add_") <= 6  # the first two alone, the others together
    assert costs.statements <= 30
    assert costs.wal <= 850 * SINGLE


async def test_an_idle_worker_asks_less_than_once_a_second(quiet_dsn: str, meter: Meter) -> None:
    """Its polls and beats go ten times as fast here: in 200 ms, not 2 s, and in 500 ms, not 5 s.

    What else it asks, it asks at its start, or more rarely than these, and not faster here.
    """
    times = 10
    async with working(quiet_dsn, noop, poll_interval="200ms", heartbeat="500ms", lease="6s") as here:
        await here.wait_for(BellChanged)
        begin, before = time.monotonic(), await meter.read()

        async def has_looked_often() -> bool:
            return (await meter.read() - before).of("claim_jobs") >= 25

        await eventually(has_looked_often, every=0.25)
        costs, seconds = await meter.read() - before, time.monotonic() - begin
    print(seconds, costs.calls)
    sweeps = 3  # after the bell went on
    regular = costs.of("claim_jobs") + costs.of("beat_worker")
    assert regular <= 0.8 * times * seconds + sweeps
    assert costs.statements - regular <= 0.5 * seconds + 30
    assert costs.wal <= 500 * times * seconds
