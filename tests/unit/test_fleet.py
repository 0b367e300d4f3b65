"""A parent and its workers: what becomes of those that end, in which order, and how all of them are."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.events import Event
from openqueue.fleet.fleet import LAST_WORK, Fleet
from openqueue.fleet.health import FactsOfAll, FactsOfOne
from openqueue.fleet.lives import BACKOFF, STEADY, Again, End, Lives, Over, Refused, exit_code
from openqueue.fleet.words import Failure, Word
from openqueue.telemetry.health import DEAD_AFTER, STUCK_AFTER, Facts
from openqueue.worker.events import WorkerProcessEnded, WorkerProcessKilled, WorkerProcessStarted

AWAY = Failure(4, ("the database is away",), heals=True)
WRONG = Failure(3, ("a module is broken",), heals=False)
WELL = Facts("running", database=True, running=2, worker="w-1")


class Clock:
    """Time that passes only when somebody sleeps or lives."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.stands_still = False

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        if self.stands_still:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


@dataclass
class Scripted:
    """A process that lives so many seconds and ends with a code, or goes on until it is told or killed."""

    pid: int
    clock: Clock
    code: int | None = None
    lives: float = 0.0
    ran: bool = True
    failure: Failure | None = None
    deaf: bool = False
    facts: Facts = WELL
    heard: list[Word] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self.code is not None:
            self._end.set_result(self.code)

    def tell(self, word: Word) -> None:
        self.heard.append(word)
        if not self.deaf and not self._end.done():
            self._end.set_result(0 if word is Word.STOP else 130)

    async def ended(self) -> int:
        await asyncio.sleep(0)  # so that others are started, too
        code = await self._end
        self.clock.now += self.lives
        return code

    def kill(self) -> None:
        if not self._end.done():
            self._end.set_result(-signal.SIGKILL)


class Story:
    """A fleet whose processes live by a script, an entry for each start; then they go on until told."""

    def __init__(self, size: int, *script: dict[str, Any], once: bool = False) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.refused: list[Failure] = []
        self.started: list[Scripted] = []
        self._script = iter(script)
        self._pids: Iterator[int] = count(1)
        self.on_event: Callable[[Event], None] = lambda _: None
        self.fleet = Fleet(
            "w",
            size,
            self._start,
            self._emit,
            grace=30.0,
            refused=self.refused.append,
            once=once,
            clock=self.clock,
            random=lambda: 0.5,
        )

    async def _start(self, _name: str) -> Scripted:
        how = next(self._script, {})
        if "error" in how:
            raise how["error"]
        self.started.append(Scripted(next(self._pids), self.clock, **how))
        return self.started[-1]

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def delays(self) -> list[float | None]:
        return [event.delay for event in self.events if isinstance(event, WorkerProcessEnded)]

    def stop_at_start(self, number: int, how: str = "stop") -> Story:
        """Tell the fleet to stop as soon as the process of this number has been started."""

        def look(event: Event) -> None:
            if isinstance(event, WorkerProcessStarted) and event.pid == number:
                asyncio.get_running_loop().call_soon(getattr(self.fleet, how))

        self.on_event = look
        return self


async def test_a_worker_that_keeps_falling_is_started_again_after_ever_longer_waits() -> None:
    story = Story(1, *[{"code": 1}] * 9).stop_at_start(10)
    assert await story.fleet.run() == 0
    assert story.delays() == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert story.clock.slept[:9] == story.delays()


async def test_a_worker_that_has_lived_a_while_begins_with_the_shortest_wait_again() -> None:
    lives = [0.0, 0.0, STEADY - 1, STEADY, 0.0]
    story = Story(1, *[{"code": -signal.SIGSEGV, "lives": one} for one in lives]).stop_at_start(6)
    assert await story.fleet.run() == 0
    assert story.delays() == [0.5, 1, 2, 0.5, 1]
    (first, *_) = [event for event in story.events if isinstance(event, WorkerProcessEnded)]
    assert (first.name, first.how, first.error) == ("w-1", "SIGSEGV", None)


async def test_a_worker_that_ends_in_good_order_without_having_been_told_to_is_started_again() -> None:
    story = Story(2, {"code": 0}).stop_at_start(3)
    assert await story.fleet.run() == 0
    assert [event.name for event in story.events if isinstance(event, WorkerProcessStarted)] == [
        *("w-1", "w-2"),
        "w-1",
    ]


async def test_what_may_heal_is_tried_again_and_told() -> None:
    story = Story(1, {"code": 4, "ran": False, "failure": AWAY}).stop_at_start(2)
    assert await story.fleet.run() == 0
    assert [event.error for event in story.events if isinstance(event, WorkerProcessEnded)] == [AWAY.said[0]]
    assert story.refused == []


async def test_a_process_for_which_the_system_has_no_room_is_tried_again() -> None:
    story = Story(1, {"error": BlockingIOError(11, "no room")}).stop_at_start(1)
    assert await story.fleet.run() == 0
    (event,) = [event for event in story.events if isinstance(event, WorkerProcessEnded)]
    assert (event.how, event.delay) == ("could not be started", 0.5)
    assert event.error is not None
    assert "no room" in event.error


async def test_what_cannot_heal_ends_all_of_them_and_is_told_once() -> None:
    broken = {"code": 3, "ran": False, "failure": WRONG}
    story = Story(4, broken, broken, broken)
    assert await story.fleet.run() == 3
    assert story.refused == [WRONG]
    assert story.started[3].heard == [Word.STOP]
    assert story.delays() == []


async def test_once_means_one_life_each_and_the_worst_end_is_that_of_the_whole() -> None:
    story = Story(3, {"code": 0}, {"code": 1}, {"code": 0}, once=True)
    assert await story.fleet.run() == 1
    assert len(story.started) == 3
    assert [event for event in story.events if isinstance(event, WorkerProcessEnded)] == [
        WorkerProcessEnded("w-2", "exit code 1", None, None)
    ]


async def test_once_what_may_heal_is_told_and_not_tried_again() -> None:
    story = Story(1, {"code": 4, "ran": False, "failure": AWAY}, once=True)
    assert await story.fleet.run() == 4
    assert story.events[-1] == WorkerProcessEnded("w-1", "exit code 4", None, AWAY.said[0])


async def test_who_does_not_end_in_time_is_killed() -> None:
    story = Story(2, {"deaf": True}).stop_at_start(2)
    assert await story.fleet.run() == 128 + signal.SIGKILL
    assert story.events[-2:] == [
        WorkerProcessKilled("w-1", 1),
        WorkerProcessEnded("w-1", "SIGKILL", None, None),
    ]
    assert story.clock.now == 100 + 30 + LAST_WORK
    assert [one.heard for one in story.started] == [[Word.STOP], [Word.STOP]]


async def test_who_does_not_leave_at_once_is_killed_soon() -> None:
    story = Story(2, {"deaf": True}).stop_at_start(2, "leave")
    assert await story.fleet.run() == 130
    assert WorkerProcessKilled("w-1", 1) in story.events
    assert [one.heard for one in story.started] == [[Word.LEAVE], [Word.LEAVE]]


async def test_a_stop_during_the_wait_for_a_restart_ends_that_wait() -> None:
    story = Story(1, {"code": 1})

    story.clock.stands_still = True

    def look(event: Event) -> None:
        if isinstance(event, WorkerProcessEnded):
            story.fleet.stop()

    story.on_event = look
    async with asyncio.timeout(60):
        assert await story.fleet.run() == 0
    assert len(story.started) == 1


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (End(0, 1.0), "exit code 0"),
        (End(130, 1.0), "exit code 130"),
        (End(-9, 1.0), "SIGKILL"),
        (End(-63, 1.0), "signal 63"),
        (End(None, 0.0), "could not be started"),
    ],
)
def test_an_end_in_words(end: End, how: str) -> None:
    assert end.how == how


@pytest.mark.parametrize(
    ("end", "follows"),
    [
        (End(0, 9.0, ran=True), Over(0)),
        (End(1, 9.0, ran=True), Over(1)),
        (End(130, 9.0, ran=True), Over(130)),
        (End(-signal.SIGTERM, 0.1), Over(0)),
        (End(-signal.SIGKILL, 9.0, ran=True), Over(137)),
        (End(4, 0.1, failure=AWAY), Over(4)),
        (End(3, 0.1, failure=WRONG), Refused(WRONG)),
        (End(None, 0.0), Over(1)),
    ],
)
def test_what_follows_on_an_end_after_a_stop(end: End, follows: Over | Refused) -> None:
    assert Lives().after(end, stopping=True) == follows


def test_who_has_worked_before_it_failed_is_started_again_to_see_whether_it_still_can() -> None:
    assert isinstance(Lives().after(End(3, 9.0, ran=True, failure=WRONG), stopping=False), Again)


@given(st.integers(1, 500), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_the_cap_nor_without_end(falls: int, chance: float) -> None:
    lives = Lives(random=lambda: chance)
    for _ in range(falls):
        again = lives.after(End(1, 0.0), stopping=False)
        assert isinstance(again, Again)
        assert 0 < again.delay <= BACKOFF.cap * (1 + BACKOFF.jitter)


@pytest.mark.parametrize(
    ("codes", "at_once", "failure", "whole"),
    [
        ([0, 0], None, None, 0),
        ([0, 1], None, None, 1),
        ([0, 0], 130, None, 130),
        ([1, 0], None, WRONG, 3),
        ([130, 0], 130, WRONG, 3),
    ],
)
def test_the_exit_code_of_the_whole(
    codes: list[int], at_once: int | None, failure: Failure | None, whole: int
) -> None:
    assert exit_code(codes, at_once=at_once, failure=failure) == whole


def all_of(*facts: Facts, draining: bool = False) -> FactsOfAll:
    each = (FactsOfOne(f"w-{number}", number, 0, one) for number, one in enumerate(facts, 1))
    return FactsOfAll("w", draining, tuple(each))


@pytest.mark.parametrize(
    ("facts", "live", "faults"),
    [
        (WELL, True, []),
        (replace(WELL, state="restarting"), True, ["w-2: the worker is restarting"]),
        (replace(WELL, database=False), True, ["w-2: the database cannot be reached"]),
        (Facts("restarting", database=None), True, ["w-2: the worker is restarting"]),
        (
            replace(WELL, loop_idle=STUCK_AFTER),
            True,
            ["w-2: the event loop has made no progress for 15 s"],
        ),
        (
            replace(WELL, loop_idle=DEAD_AFTER),
            False,
            ["w-2: the event loop has made no progress for 60 s"],
        ),
    ],
)
def test_all_are_well_when_each_is(facts: Facts, live: bool, faults: list[str]) -> None:
    alive, ready = all_of(WELL, facts).judged()
    assert alive.ok is live
    assert (ready.ok, list(ready.faults)) == (not faults, faults)


def test_a_fleet_that_drains_is_alive_and_not_ready_before_its_workers_say_so() -> None:
    facts = all_of(WELL, WELL, draining=True)
    alive, ready = facts.judged()
    assert (alive.ok, ready.ok, facts.state) == (True, False, "draining")
    assert ready.faults == ("the workers are draining",)


def test_what_is_told_of_all_is_a_sum_and_each_is_there() -> None:
    told = all_of(WELL, replace(WELL, loop_idle=3.0, running=5)).told()
    assert (told["state"], told["running"], told["loop_idle"]) == ("running", 7, 3.0)
    assert [(one["worker"], one["pid"], one["running"]) for one in told["processes"]] == [
        ("w-1", 1, 2),
        ("w-2", 2, 5),
    ]
    assert all_of(WELL, replace(WELL, state="restarting")).told()["state"] == "starting"


def test_what_nobody_knows_yet_of_the_database_is_not_told_as_a_fault() -> None:
    silent = Facts("restarting", database=None)
    assert all_of(WELL, silent).told()["database"] is None
    assert all_of(silent, replace(WELL, database=False)).told()["database"] is False
    assert all_of(WELL, WELL).told()["database"] is True
