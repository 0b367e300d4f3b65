"""What is gathered to a call, and when the call is let go."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from openqueue.runs.outcomes import RELEASED, Outcome
from openqueue.tasks.batch import Batch
from openqueue.worker.inflight import Inflight
from openqueue.worker.intake.gathering import Gathering
from openqueue.worker.job import Gathered, Job


def jobs(count: int, *, suspect: bool = False) -> list[Job]:
    row = {"task": "t", "started": False, "suspect": suspect, "queue": "q", "deadline": None}
    return [Job(row | {"id": uuid4()}, 1) for _ in range(count)]


class Pool(Inflight):
    """Places in which a call stays until `leave`; `calls` has the jobs of each that began."""

    def __init__(self, places: int) -> None:
        super().__init__(places, self.run, self.end)
        self.calls: list[list[Job]] = []
        self.ends: list[tuple[Job, Outcome]] = []
        self.leave = asyncio.Event()
        self.began = asyncio.Event()

    async def run(self, call: Job) -> Outcome:
        self.calls.append(list(call.jobs))
        self.began.set()
        await self.leave.wait()
        return RELEASED

    def end(self, call: Job, outcome: Outcome) -> None:
        self.ends.append((call, outcome))

    async def settled(self) -> None:
        self.leave.set()
        await self.drained()


async def test_as_many_as_the_size_are_a_call_and_the_rest_waits() -> None:
    pool = Pool(2)
    gathering = Gathering(pool, Batch(3, "1m"))
    mine = jobs(7)
    gathering.put(mine)
    assert gathering.held == mine[6:]
    await pool.settled()
    assert pool.calls == [mine[:3], mine[3:6]]
    assert gathering.take_waiting() == mine[6:]


async def test_the_time_is_that_of_the_first_one() -> None:
    pool = Pool(2)
    gathering = Gathering(pool, Batch(3, "20ms"))
    mine = jobs(2)
    gathering.put(mine[:1])
    gathering.put(mine[1:])
    await pool.began.wait()
    assert pool.calls == [mine]
    assert gathering.held == []
    await pool.settled()


async def test_without_a_wait_what_came_together_goes_together() -> None:
    pool = Pool(9)
    gathering = Gathering(pool, Batch(3, 0))
    mine = jobs(5)
    gathering.put(mine[:1])
    gathering.put(mine[1:])
    await pool.settled()
    assert pool.calls == [mine[:1], mine[1:4], mine[4:]]


async def test_one_that_was_with_a_lost_worker_begins_alone() -> None:
    pool = Pool(9)
    gathering = Gathering(pool, Batch(3, "1m"))
    (suspect,), others = jobs(1, suspect=True), jobs(3)
    gathering.put([others[0], suspect, *others[1:]])
    await pool.settled()
    assert pool.calls == [[suspect], others]
    assert not isinstance(pool.ends[0][0], Gathered)


async def test_a_place_has_room_for_as_many_as_a_call_takes() -> None:
    pool = Pool(2)
    gathering = Gathering(pool, Batch(100, "1m"))
    assert gathering.room() == (200, 0)
    gathering.put(jobs(130))
    assert gathering.room() == (100 - 30, 0), "one place is left, and 30 wait for it"
    gathering.put(jobs(70))
    assert gathering.room() == (0, 0)
    await pool.began.wait()
    assert pool.running
    await pool.settled()


async def test_many_places_are_not_claimed_for_at_once() -> None:
    assert Gathering(Pool(100), Batch(1_000, "1m")).room() == (1_000, 0)
    assert Gathering(Pool(1_000), Batch(10, "1m")).room() == (1_000, 0)


async def test_all_that_has_not_begun_goes_back_from_the_pool_too() -> None:
    pool = Pool(1)
    gathering = Gathering(pool, Batch(2, "20ms"))
    mine = jobs(5)
    gathering.put(mine)
    await pool.began.wait()
    assert gathering.take_waiting() == [mine[4], mine[2], mine[3]]
    assert all(job.within is None for job in mine[2:])
    await pool.settled()
    assert pool.calls == [mine[:2]]


async def test_one_of_a_call_that_waits_for_a_place_can_be_taken_out() -> None:
    pool = Pool(1)
    gathering = Gathering(pool, Batch(2, "1m"))
    mine = jobs(6)
    gathering.put(mine)
    await pool.began.wait()
    assert pool.find(mine[2].id) is mine[2]
    assert pool.drop(mine[2])
    assert pool.find(mine[2].id) is None
    assert pool.drop(mine[4])
    assert pool.drop(mine[5])
    assert pool.waiting == 1
    assert not pool.drop(mine[0]), "it has begun"
    await pool.settled()
    assert pool.calls == [mine[:2], [mine[3]]]


@pytest.mark.parametrize("lost", [(), (0,), (0, 1)])
async def test_a_call_is_interrupted_when_nobody_wants_it_any_longer(lost: Any) -> None:
    pool = Pool(1)
    gathering = Gathering(pool, Batch(2, "1m"))
    mine = jobs(2)
    gathering.put(mine)
    await pool.began.wait()
    (call,) = pool.running
    flags = [job.cancellation() for job in mine]
    for number, job in enumerate(mine):
        assert not call.cancellation().is_set()
        if number in lost:
            job.lost = True
        else:
            job.asked = "cancel"
        job.interrupt()
        assert flags[number].is_set()
    assert call.cancellation().is_set()
    assert (call.asked, call.lost) == ((None, True) if len(lost) == 2 else ("cancel", False))
    assert call.runner is not None
    assert call.runner.cancelling()
    with pytest.raises(asyncio.CancelledError):
        await call.runner
