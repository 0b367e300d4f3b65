"""The bus: who subscribed hears, and nobody who fails stops the others."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from openqueue.events import Event, Events


@dataclass(frozen=True, slots=True)
class Happened(Event):
    what: str


@dataclass(frozen=True, slots=True)
class Worse(Happened):
    pass


@dataclass(frozen=True, slots=True)
class Other(Event):
    pass


def test_a_subscriber_hears_events_of_its_class_and_of_subclasses_only() -> None:
    bus = Events()
    heard: list[Any] = []
    bus.subscribe(Happened, heard.append)
    bus.emit(Happened("a"))
    bus.emit(Other())
    bus.emit(Worse("b"))
    assert heard == [Happened("a"), Worse("b")]


def test_a_subscriber_to_everything_hears_everything() -> None:
    bus = Events()
    heard: list[Any] = []
    bus.subscribe(None, heard.append)
    bus.emit(Happened("a"))
    bus.emit(Other())
    assert heard == [Happened("a"), Other()]


def test_subscribers_are_called_in_the_order_they_came() -> None:
    bus = Events()
    heard: list[Any] = []
    bus.subscribe(Other, lambda event: heard.append("first"))
    bus.subscribe(None, lambda event: heard.append("second"))
    bus.emit(Other())
    assert heard == ["first", "second"]


def test_who_unsubscribed_hears_no_more_and_may_do_so_twice() -> None:
    bus = Events()
    heard: list[Any] = []
    unsubscribe = bus.subscribe(Other, heard.append)
    bus.emit(Other())
    unsubscribe()
    unsubscribe()
    bus.emit(Other())
    assert heard == [Other()]


def test_the_same_function_may_subscribe_twice_and_leave_once() -> None:
    bus = Events()
    heard: list[Any] = []
    leave = bus.subscribe(Other, heard.append)
    bus.subscribe(Other, heard.append)
    leave()
    bus.emit(Other())
    assert len(heard) == 1


def test_wants_is_true_while_somebody_would_hear() -> None:
    bus = Events()
    assert not bus.wants(Worse)
    unsubscribe = bus.subscribe(Happened, lambda event: None)
    assert bus.wants(Worse)
    assert not bus.wants(Other)
    unsubscribe()
    assert not bus.wants(Worse)


def test_a_failing_subscriber_stops_nobody_and_is_reported_once(caplog: Any) -> None:
    bus = Events()
    heard: list[Any] = []

    def fail(event: Event) -> None:
        raise RuntimeError("my own fault")

    bus.subscribe(None, fail)
    bus.subscribe(None, heard.append)
    with caplog.at_level(logging.ERROR, "openqueue.events"):
        bus.emit(Other())
        bus.emit(Other())
    assert len(heard) == 2
    assert len(caplog.records) == 1
    assert "my own fault" in caplog.text


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Happened("a").what = "b"  # type: ignore[misc]
