"""Services: ticks that keep time, and rings that end what they started."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.clock import SystemClock
from openqueue.service import running, ticks


class FakeClock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


async def moments(count: int, work: float = 0.0, **how: Any) -> list[float]:
    clock, found = FakeClock(), []
    async for number in ticks(clock=clock, **how):
        found.append(clock.now - 100.0)
        clock.now += work
        if number + 1 == count:
            break
    return found


async def test_the_first_tick_is_at_once_and_the_others_one_period_apart() -> None:
    assert await moments(3, every=timedelta(seconds=5)) == [0, 5, 10]


async def test_the_first_tick_can_come_after_the_first_wait() -> None:
    assert await moments(3, every=5, at_once=False) == [5, 10, 15]


async def test_work_does_not_shift_the_ticks() -> None:
    assert await moments(3, work=2, every=5) == [0, 5, 10]


async def test_a_round_that_takes_too_long_is_followed_at_once_and_nothing_is_made_up_for() -> None:
    assert await moments(4, work=12, every=5) == [0, 12, 24, 36]


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_varies_each_wait_by_its_share(chance: Any) -> None:
    first, second = asyncio.run(moments(2, every=10, jitter=0.1, random=lambda: chance))
    assert 9 - 1e-9 <= second - first <= 11 + 1e-9


async def test_the_system_clock_goes_on_and_yields_for_no_time() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(-1)
    assert clock.monotonic() >= before


class Waiting:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


class Failing:
    async def run(self) -> None:
        raise OSError("gone")


class Ending:
    async def run(self) -> None:
        return


async def test_services_run_beside_the_body_and_have_ended_after_it() -> None:
    first, second = Waiting(), Waiting()
    async with running(first, second):
        await first.started.wait()
        await second.started.wait()
        assert not first.stopped.is_set()
    assert first.stopped.is_set()
    assert second.stopped.is_set()


async def test_a_service_that_dies_ends_the_body_with_its_own_exception() -> None:
    other = Waiting()

    async def body() -> None:
        async with running(other, Failing()):
            await asyncio.Event().wait()

    with pytest.raises(OSError, match="gone"):
        await body()
    assert other.stopped.is_set()


async def test_an_exception_of_the_body_leaves_as_itself_and_the_services_are_ended() -> None:
    service = Waiting()

    async def body() -> None:
        async with running(service):
            await service.started.wait()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await body()
    assert service.stopped.is_set()


async def test_a_service_that_returns_has_simply_ended() -> None:
    async with running(Ending()):
        await asyncio.sleep(0)


async def test_a_ring_that_is_cancelled_ends_its_services() -> None:
    service = Waiting()

    async def body() -> None:
        async with running(service):
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await service.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.stopped.is_set()
