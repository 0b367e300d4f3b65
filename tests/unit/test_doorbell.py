"""When the bell is on, and who hears what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from openqueue.db.outage import Outage
from openqueue.events import Event
from openqueue.worker.events import BellChanged
from openqueue.worker.intake.doorbell import Doorbell, wants_bell


class Calls:
    """Stands for the database: remembers which queues the bells were set for."""

    def __init__(self) -> None:
        self.outage = Outage()
        self.bells: list[list[str]] = []

    async def fetchval(self, name: str, worker: object, namespace: str, queues: list[str]) -> int:
        assert (name, namespace) == ("set_bells", "default")
        self.bells.append(queues)
        return 0


class Bell:
    """A doorbell with one producer, whose clock stands still unless it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, queues: Sequence[str] | None = None) -> None:
        self.calls = Calls()
        self.events: list[Event] = []
        self.heard: list[Any] = []
        self.saturated = False
        self.now = 100.0
        monkeypatch.setattr("openqueue.worker.intake.doorbell.time.monotonic", lambda: self.now)
        database: Any = self.calls
        self.bell = Doorbell(database, uuid4(), "default", queues, self.events.append)
        self.controls: list[str | None] = []
        self.bell.join(self.hear, lambda: self.saturated)

    def hear(self, ready: Any, due: float | None, control: str | None) -> None:
        self.heard.append((ready, due))
        self.controls.append(control)

    def tell(self, **payload: Any) -> None:
        self.bell.hear(json.dumps({"namespace": "default", **payload}))

    async def arrive(self, rate: float, seconds: float) -> None:
        """Jobs arrive at this rate for so long, as claims four times a second see it."""
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            self.newest = getattr(self, "newest", 0) + int(rate / 4)
            self.bell.note(self.newest)


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> Bell:
    return Bell(monkeypatch)


@pytest.mark.parametrize(
    ("on", "rate", "saturated", "wanted"),
    [
        (False, 0, False, True),
        (False, 49, False, True),
        (False, 75, False, False),
        (True, 75, False, True),
        (True, 101, False, False),
        (True, 0, True, False),
        (False, 0, True, False),
    ],
)
def test_the_bell_is_wanted_while_jobs_come_seldom_and_a_place_is_free(
    on: bool, rate: float, saturated: bool, wanted: bool
) -> None:
    assert wants_bell(on, rate, saturated) is wanted


async def test_it_is_turned_on_at_once_and_written_only_on_a_change(bell: Bell) -> None:
    assert await bell.bell.once()
    assert not await bell.bell.once()
    assert bell.calls.bells == [["*"]]
    assert bell.events == [BellChanged(True, 0.0)]


async def test_it_goes_off_while_jobs_come_thick_and_on_when_it_is_quiet_again(bell: Bell) -> None:
    await bell.bell.once()
    await bell.arrive(1000, 2)
    assert not await bell.bell.once()
    assert not bell.bell.on
    await bell.arrive(0, 10)
    assert await bell.bell.once()
    assert bell.calls.bells == [["*"], [], ["*"]]


async def test_jobs_that_come_back_from_gates_arrive_too(bell: Bell) -> None:
    """With the seq that they had: nothing else tells that they come thick."""
    await bell.bell.once()
    for _ in range(8):
        bell.now += 0.25
        bell.bell.note(0, 100)
    await bell.bell.once()
    assert not bell.bell.on
    await bell.arrive(0, 10)
    await bell.bell.once()
    assert bell.bell.on


async def test_a_bell_that_rings_all_the_time_for_gates_goes_off(bell: Bell) -> None:
    await bell.bell.once()
    for _ in range(8):
        for _ in range(100):
            bell.tell(ready=[])
        await bell.arrive(0, 0.25)
    await bell.bell.once()
    assert not bell.bell.on


async def test_it_goes_off_when_every_place_is_taken(bell: Bell) -> None:
    await bell.bell.once()
    bell.saturated = True
    await bell.bell.once()
    assert not bell.bell.on


async def test_a_worker_of_some_queues_has_a_bell_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell(monkeypatch, ["a", "b"])
    await bell.bell.once()
    assert bell.calls.bells == [["a", "b"]]


def test_what_is_told_reaches_the_producers_and_nothing_else_does(bell: Bell) -> None:
    bell.tell(ready=[["q", 0, 7]])
    bell.tell(ready="*")
    bell.tell(due_in=1.5)
    bell.tell(ready=[["q", 0, 7]], namespace="another")
    bell.tell(done=["0199"])
    bell.tell(cancel=["0199"], worker="w")
    bell.bell.look()
    assert bell.heard == [([["q", 0, 7]], None), (None, None), ((), 1.5), (None, None)]


async def test_after_a_worker_was_given_up_its_bell_is_written_anew(bell: Bell) -> None:
    await bell.bell.once()
    bell.bell.doubt()
    await bell.bell.once()
    assert bell.calls.bells == [["*"], ["*"]]


def test_what_holds_has_changed_is_passed_on_with_the_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Bell(monkeypatch)
    stage.tell(ready=[], control="queue mail")
    stage.tell(ready=[["default", 0, 1]])
    assert stage.controls == ["queue mail", None]
    assert stage.heard == [((), None), ([["default", 0, 1]], None)]
