"""Parts that wait for a database that is away: who gets through first wakes the others."""

from __future__ import annotations

import asyncio

from openqueue.db.outage import Outage
from openqueue.events import Event
from openqueue.worker.events import ServiceRecovered, ServiceStumbled
from openqueue.worker.stumbling import Stumbling
from tests.support.eventually import eventually


def made(service: str, outage: Outage, told: list[Event] | None = None) -> Stumbling:
    return Stumbling(service, (told if told is not None else []).append, outage)


async def waits(one: Stumbling, failures: int) -> asyncio.Task[None]:
    """It has failed so often, and now waits for its next try."""
    for _ in range(failures):
        one.stumble(OSError("away"))
    task = asyncio.create_task(one.pause(OSError("away")))
    await eventually(lambda: one.failures > failures, every=0, what="it has failed once more")
    return task


async def test_the_first_to_get_through_ends_the_pauses_of_all_others() -> None:
    outage = Outage()
    waiting = [await waits(made(f"part {n}", outage), failures=20 + n) for n in range(3)]
    first = made("the first", outage)
    first.stumble(OSError("away"))
    assert not any(task.done() for task in waiting)
    first.recover()
    await asyncio.gather(*waiting)


async def test_a_pause_that_begins_after_it_was_over_is_a_whole_one() -> None:
    outage = Outage()
    outage.over()
    waiting = await waits(made("late", outage), failures=20)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_success_without_a_failure_before_wakes_nobody() -> None:
    outage = Outage()
    waiting = await waits(made("waiting", outage), failures=20)
    made("untroubled", outage).recover()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_it_tells_once_that_it_stumbled_and_once_that_it_is_back() -> None:
    told: list[Event] = []
    one = made("part", Outage(), told)
    pauses = [one.stumble(OSError("away")) for _ in range(12)]
    one.recover()
    one.recover()
    assert [type(event) for event in told] == [ServiceStumbled, ServiceRecovered]
    assert pauses[0] < 0.2
    assert 3.5 < pauses[-1] <= 6.25
