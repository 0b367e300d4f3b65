"""Tests of programs with schedules: time passes when the test says so, and what is due fires."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from openqueue import Context, Task, UnexpectedState, task
from openqueue.clients import default_enqueuer
from openqueue.tasks.tick import Tick
from openqueue.testing import OpenQueue
from openqueue.testing.portal import Portal

HOUR = timedelta(hours=1)

kept: list[Task[..., None]] = []
"""The tasks of this module: one that nobody holds is declared no longer."""


@pytest.fixture
def openqueue(dsn: str) -> Iterator[OpenQueue]:
    portal = Portal()
    queue = OpenQueue(dsn, portal)
    with queue.in_use():
        yield queue
    portal.close()


def ticking(seen: list[Tick | None], **options: object) -> Task[..., None]:
    @task(name="clocks.tick", **options)  # type: ignore[call-overload, untyped-decorator]
    async def tick(*, ctx: Context = Context.injected) -> None:
        seen.append(ctx.tick)

    made: Task[..., None] = tick
    kept.append(made)
    return made


async def test_a_schedule_fires_what_is_due_on_the_way(openqueue: OpenQueue) -> None:
    seen: list[Tick | None] = []
    client = await default_enqueuer()
    made = await client.schedules.add("k", ticking(seen), cron="0 * * * *")
    assert not openqueue.enqueued()
    openqueue.advance("1h")
    assert len(openqueue.enqueued(status="queued")) + len(openqueue.enqueued(status="scheduled")) == 1
    await openqueue.drain()
    openqueue.advance("1h")
    openqueue.advance("1h")
    await openqueue.drain()
    ticks = [one for one in seen if one is not None]
    assert [one.number for one in ticks] == [1, 2, 3]
    assert [later.at - one.at for one, later in pairwise(ticks)] == [HOUR, HOUR]
    assert not any(one.catch_up for one in ticks)
    assert ticks[0].at.minute == 0
    assert [one.at for one in await made.ticks()] == [one.at for one in reversed(ticks)]


async def test_a_step_over_many_ticks_fires_all_of_them_and_overlap_holds(openqueue: OpenQueue) -> None:
    seen: list[Tick | None] = []
    client = await default_enqueuer()
    await client.schedules.add("all", ticking(seen), every="1h")
    await client.schedules.add("one", ticking(seen), every="1h", overlap="skip")
    openqueue.advance("24h")
    await openqueue.drain()
    keys = [one.schedule for one in seen if one is not None]
    assert (keys.count("all"), keys.count("one")) == (24, 1)


async def test_an_interval_counts_from_when_it_was_added(openqueue: OpenQueue) -> None:
    seen: list[Tick | None] = []
    client = await default_enqueuer()
    openqueue.advance("90m")
    await client.schedules.add("k", ticking(seen), every="1h", max_runs=2)
    openqueue.advance("59m")
    await openqueue.drain()
    assert seen == []
    openqueue.advance("2m")
    await openqueue.drain()
    assert len(seen) == 1
    openqueue.advance("10h")
    await openqueue.drain()
    assert len(seen) == 2, "max_runs"


async def test_a_paused_schedule_fires_nothing_until_its_pause_ends(openqueue: OpenQueue) -> None:
    seen: list[Tick | None] = []
    client = await default_enqueuer()
    await client.schedules.add("k", ticking(seen), every="1h")
    await client.schedules.pause("k", "150m")
    openqueue.advance("1h")
    openqueue.advance("1h")
    await openqueue.drain()
    assert seen == []
    openqueue.advance("1h")
    await openqueue.drain()
    assert [one.number for one in seen if one] == [1]


def test_what_a_task_declares_fires_when_it_is_published(openqueue: OpenQueue) -> None:
    seen: list[Tick | None] = []
    declared = ticking(seen, cron="0 2 * * *", timezone="Europe/Berlin")
    openqueue.advance("1d")
    assert not openqueue.enqueued()
    openqueue.publish(declared)
    openqueue.advance("1d")
    assert openqueue.drain_sync().count("completed") == 1
    (tick,) = seen
    assert tick is not None
    assert tick.schedule == "clocks.tick"
    assert tick.at > datetime.now(UTC) + timedelta(hours=20), "a day has passed before"


async def test_too_many_ticks_in_a_step_are_refused(
    openqueue: OpenQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqueue.testing.ticking.MOST_TICKS", 5)
    client = await default_enqueuer()
    await client.schedules.add("k", ticking([]), every="1s")
    with pytest.raises(UnexpectedState, match="advance in shorter steps"):
        openqueue.advance("1m")


async def test_a_tick_that_waits_is_fired_with_the_next_step(openqueue: OpenQueue) -> None:
    seen: list[Tick | None] = []
    client = await default_enqueuer()
    await client.schedules.add("k", ticking(seen), every="1h", overlap="queue")
    openqueue.advance("3h")
    await openqueue.drain()
    assert len(seen) == 1
    openqueue.advance("0s")
    await openqueue.drain()
    assert len(seen) == 2, "the one that waited"
