"""The pool of places: turns between runners and the event loop, and how much is claimed ahead."""

import asyncio
import itertools
import time
from typing import Any
from uuid import uuid4

from openqueue.runs.outcomes import Outcome, completed
from openqueue.worker import inflight as pool
from openqueue.worker.inflight import Inflight
from openqueue.worker.job import Job


def jobs(count: int) -> list[Job]:
    row: dict[str, Any] = {"id": None, "task": "t", "started": True, "suspect": False, "queue": "default"}
    return [Job(row | {"id": uuid4()}, 1) for _ in range(count)]


class Clock:
    """Monotonic time that passes by `step` with each job."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_all_runners_together_have_one_turn_then_the_event_loop_goes_round(monkeypatch: Any) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    done: list[Job] = []

    async def run(_: Job) -> Outcome:
        clock.now += pool.TURN / 10
        return completed("null")

    places = Inflight(50, run, lambda job, _: done.append(job))
    places.put(jobs(500))
    rounds = [0]
    while places.busy:
        await asyncio.sleep(0)
        rounds.append(len(done))
    assert len(done) == 500
    most = max(after - before for before, after in itertools.pairwise(rounds))
    assert most <= 12, "a turn of ten jobs, however many runners there are"


async def test_what_brought_more_than_places_goes_on_before_the_first_of_them_runs() -> None:
    began = False
    told: list[bool] = []

    async def run(_: Job) -> Outcome:
        nonlocal began
        began = True
        return completed("null")

    async def ask() -> None:
        told.append(began)

    places = Inflight(4, run, lambda *_: None)
    places._turn_ends = time.monotonic() + 60
    places.put(jobs(20))
    await asyncio.create_task(ask())
    await places.drained()
    assert told == [False], "the next claim is on its way before the jobs of this one have the loop"


async def test_what_will_have_begun_when_a_claim_comes_in_is_claimed_now(monkeypatch: Any) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    hold = asyncio.Event()

    async def run(_: Job) -> Outcome:
        await hold.wait()
        return completed("null")

    places = Inflight(10, run, lambda *_: None)
    places._rate, places._measured = 10_000.0, (clock.now, 0)
    places.put(jobs(10 + 400))
    await asyncio.sleep(0)
    assert places.room() == (0, 0), "500 finish in 50 ms, 400 wait"
    assert places.room(claim_takes=0.001) == (0, 0)
    assert places.room(claim_takes=0.01) == (100 + 200, 0), "up to 200 begin while the claim is made"
    hold.set()
    await places.drained()


async def test_never_more_is_ahead_than_the_most_that_may_be(monkeypatch: Any) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    places = Inflight(10, lambda _: asyncio.sleep(0, completed("null")), lambda *_: None)
    places._rate, places._measured = 1e9, (clock.now, 0)
    assert places.room(claim_takes=1.0) == (10 + pool.MOST_PREFETCHED, 10)


async def test_a_cancellation_that_a_job_asked_for_and_took_back_does_not_hit_the_next_one() -> None:
    mine = jobs(3)
    cancelled: list[int] = []

    async def run(job: Job) -> Outcome:
        runner = asyncio.current_task()
        assert runner is not None
        if job is mine[0]:
            runner.cancel()
            runner.uncancel()  # before 3.13 it comes all the same, with the next await
            return completed("null")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            cancelled.append(mine.index(job))
        return completed("null")

    places = Inflight(1, run, lambda *_: None)
    places.put(mine)
    await places.drained()
    assert cancelled == []
