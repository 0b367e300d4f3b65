"""What a producer asks for and when it looks again, against a database that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from openqueue.db.outage import Outage
from openqueue.errors import ConnectionFailed
from openqueue.events import Event
from openqueue.worker.intake.claims import Claims
from openqueue.worker.intake.doorbell import Doorbell
from openqueue.worker.producer import Producer
from tests.support.eventually import eventually


class Claimed:
    """Stands for the database: one lane, no jobs unless given, and `due` as set."""

    def __init__(self) -> None:
        self.outage = Outage()
        self.calls: list[dict[str, Any]] = []
        self.put_back: list[tuple[Any, ...]] = []
        self.rows: list[dict[str, Any]] = []
        self.lane_rows: list[dict[str, Any]] = []
        self.due: float | None = None
        self.ended: int | None = 0
        self.fail: Exception | None = None
        self.xid = 100
        self.called = asyncio.Event()
        self.rings: Callable[[], None] | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        self.called.set()
        if name == "put_back":
            self.put_back.append(arguments)
            return []
        await self.answers.wait()
        if rings := self.rings:
            await asyncio.sleep(0.005)  # a round trip, in which somebody enqueues
            rings()
        call = {"statement": name, "claim": arguments[1], "n": arguments[2]}
        self.calls.append(call)
        self.called.set()  # again: who was woken by the call looks at what is noted
        if name == "claim_lane":
            call["lane"] = arguments[5:8]
            return self.lane_rows
        assert name == "claim_jobs"
        call |= {"uptos": arguments[10], "promote": arguments[12]}
        if self.fail:
            raise self.fail
        self.xid += 1
        position: dict[str, Any] = {
            "xmin": self.xid,
            "xid": self.xid,
            "newest": 0,
            "due": self.due,
            "governed": False,
        }
        position["lanes"] = [["default", 0, 0, self.ended]]
        return [*self.rows, {"id": None, "input": json.dumps(position)}]

    async def fetchval(self, *_: Any) -> int:
        return 0


class Places:
    """Stands for the pool of places: as much room as it is told."""

    def __init__(self) -> None:
        self.free = 5
        self.jobs: list[Any] = []
        self.busy = False
        self.waiting = 0

    def room(self, claim_takes: float = 0.0) -> tuple[int, int]:
        return self.free, self.free

    def put(self, jobs: Any) -> None:
        self.jobs += jobs

    def take_waiting(self) -> list[Any]:
        taken, self.jobs = self.jobs, []
        return taken

    def in_queue(self, queue: str) -> int:
        return sum(1 for job in self.jobs if job.row["queue"] == queue)

    def nudge(self) -> None: ...

    def waited(self) -> float:
        return 0.0


class Completed:
    """Stands for the completer."""

    def __init__(self) -> None:
        self.opened: dict[int, int] = {}
        self.left: list[Any] = []

    def claimed(self, claim: int, jobs: int) -> None:
        self.opened[claim] = jobs

    def gone(self, job: Any) -> None:
        self.left.append(job)


class Stage:
    """A producer between the three."""

    def __init__(self, poll: float = 60.0, queues: dict[str, int | None] | None = None) -> None:
        self.database, self.places, self.completer = Claimed(), Places(), Completed()
        self.events: list[Event] = []
        database: Any = self.database
        places: Any = self.places
        completer: Any = self.completer
        self.worker = uuid4()
        self.bell = Doorbell(database, self.worker, "default", None, self.events.append)
        self.bell.on = True
        self.claims = Claims()
        self.producer = Producer(
            database, self.worker, self.claims, places, completer, self.bell, tasks=["t"], queues=queues,
            in_queue=self.places.in_queue, namespace="default", poll=poll, emit=self.events.append,
        )  # fmt: skip

    async def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        """Run the producer until something is true of its calls."""
        running = asyncio.create_task(self.producer.run())
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    self.database.called.clear()
                    await self.database.called.wait()
        finally:
            running.cancel()
            await asyncio.wait([running])


def job(seq: int = 1, queue: str = "default") -> dict[str, Any]:
    return {
        "id": uuid4(),
        "task": "t",
        "queue": queue,
        "priority": 0,
        "seq": seq,
        "started": True,
        "suspect": False,
        "returned": False,
    }


async def test_a_claims_number_is_pending_while_it_is_under_way_and_never_used_twice() -> None:
    stage = Stage()
    for _ in range(3):
        await stage.producer.once(5, 5)
    numbers = [call["claim"] for call in stage.database.calls]
    assert numbers == sorted(set(numbers))
    assert stage.claims.pending == set()
    stage.database.fail = ConnectionFailed("gone")
    with pytest.raises(ConnectionFailed):
        await stage.producer.once(5, 5)
    assert stage.claims.pending == set()
    assert stage.completer.opened == {}


async def test_jobs_of_a_claim_are_opened_with_the_completer_and_put_into_the_pool() -> None:
    stage = Stage()
    stage.database.rows = [job(1), job(2)]
    assert await stage.producer.once(5, 5) == 2
    assert stage.completer.opened == {stage.database.calls[0]["claim"]: 2}
    assert [one.row["seq"] for one in stage.places.jobs] == [1, 2]


async def test_an_idle_producer_waits_for_the_bell_and_asks_at_once_when_it_rings() -> None:
    stage = Stage()
    running = asyncio.create_task(stage.until(lambda: len(stage.database.calls) >= 2))
    await eventually(lambda: stage.database.calls)
    stage.bell.hear('{"namespace": "default", "ready": [["default", 0, 1]]}')
    await running


async def test_it_asks_again_when_the_next_scheduled_job_is_due() -> None:
    stage = Stage()
    stage.database.due = 0.05
    await stage.until(lambda: len(stage.database.calls) >= 2)
    assert stage.database.calls[1]["promote"]


async def test_a_bell_of_one_lane_is_answered_from_that_lane_alone_and_everything_is_read_soon_after() -> (
    None
):
    stage = Stage()
    running = asyncio.create_task(stage.until(lambda: len(stage.database.calls) >= 3))
    await eventually(lambda: stage.database.calls)
    stage.database.lane_rows = [job(7)]
    stage.bell.hear('{"namespace": "default", "ready": [["default", 0, 7]]}')
    await running
    first, from_lane, then = stage.database.calls[:3]
    assert (first["statement"], from_lane["statement"], then["statement"]) == (
        "claim_jobs", "claim_lane", "claim_jobs",
    )  # fmt: skip
    assert from_lane["lane"] == ("default", 0, 0)
    assert [one.row["seq"] for one in stage.places.jobs] == [7]
    assert stage.completer.opened == {from_lane["claim"]: 1}


async def test_bells_of_one_busy_lane_do_not_keep_it_from_looking_at_everything() -> None:
    stage = Stage()
    stage.database.rings = lambda: stage.producer.hear([["default", 0, 7]], None)
    await stage.until(lambda: sum(call["statement"] == "claim_jobs" for call in stage.database.calls) >= 5)
    assert sum(call["statement"] == "claim_lane" for call in stage.database.calls) >= 5


async def test_a_gate_that_may_open_is_not_forgotten_over_the_bell_of_a_lane() -> None:
    stage = Stage()
    running = asyncio.create_task(stage.until(lambda: len(stage.database.calls) >= 2))
    await eventually(lambda: stage.database.calls)
    stage.bell.hear('{"namespace": "default", "ready": []}')
    stage.bell.hear('{"namespace": "default", "ready": [["default", 0, 7]]}')
    await running
    assert [call["statement"] for call in stage.database.calls[:2]] == ["claim_jobs", "claim_jobs"]


async def test_what_is_said_while_a_claim_is_under_way_holds_for_the_next_one() -> None:
    stage = Stage()
    stage.database.rings = lambda: stage.bell.hear(
        '{"namespace": "default", "control": "queue default", "ready": []}'
    )
    running = asyncio.create_task(stage.until(lambda: len(stage.database.calls) >= 2))
    await eventually(lambda: stage.database.calls)
    stage.database.rings = None
    stage.bell.hear('{"namespace": "default", "ready": [["default", 0, 7]]}')
    await running
    assert [call["statement"] for call in stage.database.calls[:2]] == ["claim_jobs", "claim_jobs"]


@pytest.mark.parametrize(
    ("queues", "ready"),
    [
        (None, '[["default", 0, 7], ["mail", 0, 8]]'),
        ({"mail": None}, '[["default", 0, 7]]'),
        ({"default": 5}, '[["default", 0, 7]]'),
        (None, '"*"'),
    ],
)
async def test_other_bells_are_answered_with_a_look_at_every_lane(
    queues: dict[str, int | None] | None, ready: str
) -> None:
    stage = Stage(queues=queues)
    running = asyncio.create_task(stage.until(lambda: len(stage.database.calls) >= 2))
    await eventually(lambda: stage.database.calls)
    stage.bell.hear(f'{{"namespace": "default", "ready": {ready}}}')
    await running
    assert {call["statement"] for call in stage.database.calls} == {"claim_jobs"}


async def test_after_a_failed_claim_everything_behind_the_cursors_is_in_doubt() -> None:
    stage = Stage()
    stage.database.ended = 1000
    await stage.producer.once(5, 5)
    stage.database.fail = ConnectionFailed("gone")
    running = asyncio.create_task(stage.until(lambda: len(stage.database.calls) >= 3))
    await eventually(lambda: len(stage.database.calls) >= 2)
    stage.database.fail = None
    await running
    assert stage.producer._lanes.forward().cursors in ([0], [1000])


async def test_everyone_who_asks_for_a_look_hears_of_one_that_began_later_also_where_one_fails() -> None:
    stage = Stage()
    stage.database.answers.clear()
    running = asyncio.create_task(stage.until(lambda: False))
    first = asyncio.create_task(stage.producer.look())
    await stage.database.called.wait()  # the first claim, which is not yet its look, is under way
    stage.database.answers.set()
    assert await asyncio.wait_for(first, 10) == 0
    stage.database.fail = ConnectionFailed("gone")
    looks = [asyncio.create_task(stage.producer.look())]
    made = len(stage.database.calls)
    await eventually(lambda: len(stage.database.calls) > made)
    looks.append(asyncio.create_task(stage.producer.look()))
    await eventually(lambda: len(stage.database.calls) > made + 1)
    stage.database.fail = None
    assert await asyncio.wait_for(asyncio.gather(*looks), 10) == [0, 0]
    running.cancel()
    await asyncio.wait([running])


async def test_what_is_given_back_names_the_claim_of_each_job() -> None:
    stage = Stage()
    stage.database.rows = [job(1)]
    await stage.producer.once(5, 5)
    await stage.producer.once(5, 5)
    jobs = list(stage.places.jobs)
    await stage.producer.give_back("because")
    ((worker, ids, claims),) = stage.database.put_back
    assert (worker, ids) == (stage.worker, [one.id for one in jobs])
    assert claims == [call["claim"] for call in stage.database.calls]
    assert stage.completer.left == jobs


async def test_jobs_of_a_claim_that_is_under_way_when_the_worker_stops_go_back_as_never_begun() -> None:
    stage = Stage()
    stage.database.rows = [job(1), job(2)]
    stage.database.answers.clear()
    running = asyncio.create_task(stage.producer.run())
    await stage.database.called.wait()
    running.cancel()
    await asyncio.sleep(0)
    assert stage.claims.pending
    stage.database.answers.set()
    await asyncio.wait([running])
    ((_, ids, claims),) = stage.database.put_back
    assert ids == [row["id"] for row in stage.database.rows]
    assert claims == [stage.database.calls[0]["claim"]] * 2
    assert (stage.places.jobs, stage.claims.pending) == ([], set())


async def test_a_bound_of_a_queue_is_what_is_left_of_it() -> None:
    stage = Stage(queues={"a": 2, "b": None})
    assert stage.producer._queue_limits() == (["a", "b"], [2, None])
    stage.database.rows = [job(1, "a"), job(2, "a"), job(3, "b")]
    await stage.producer.once(5, 5)
    assert stage.producer._queue_limits() == (["a", "b"], [0, None])
