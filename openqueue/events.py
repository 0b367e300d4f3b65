"""Everything that can happen, as frozen dataclasses, and the bus that carries them.

Engine code never logs: it emits an event. Logs, metrics, traces, alerts, the live page and the
tests subscribe. Emitting is synchronous and cheap; a hot path that would have to build a costly
event asks `wants` first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

__all__ = ["Emit", "Event", "Events", "Unsubscribe"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Subclasses are frozen, slotted dataclasses of plain values."""


E = TypeVar("E", bound=Event)
Emit = Callable[[Event], None]
Unsubscribe = Callable[[], None]
_Subscriber = Callable[[Any], None]

_log = logging.getLogger("openqueue.events")


class Events:
    """A bus: who subscribed to a class of events is called with each of them and of its subclasses.

    Safe to use from several threads; subscribers are called in the thread that emits, in the order
    they subscribed. A subscriber that raises never stops the emitter nor the others: its first
    failure is logged with a traceback, later ones are silent.
    """

    def __init__(self) -> None:
        self._subscribers: tuple[tuple[type[Event], _Subscriber], ...] = ()
        self._listening: dict[type[Event], tuple[_Subscriber, ...]] = {}
        self._failed: set[_Subscriber] = set()
        self._lock = Lock()

    def subscribe(self, kind: type[E] | None, function: Callable[[E], None]) -> Unsubscribe:
        """Call `function` with every event of `kind` (None: every event); returns how to stop that."""
        entry: tuple[type[Event], _Subscriber] = (kind or Event, function)
        with self._lock:
            self._set((*self._subscribers, entry))

        def unsubscribe() -> None:
            with self._lock:
                self._set(tuple(one for one in self._subscribers if one is not entry))

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Hand the event to everyone who subscribed to its class or a base of it."""
        for function in self._listeners(type(event)):
            try:
                function(event)
            except Exception:  # noqa: BLE001  a subscriber must never stop the engine
                self._report(function, event)

    def wants(self, kind: type[Event]) -> bool:
        """Whether anybody would hear an event of exactly this class."""
        return bool(self._listeners(kind))

    def _set(self, subscribers: tuple[tuple[type[Event], _Subscriber], ...]) -> None:
        self._subscribers = subscribers
        self._listening = {}

    def _listeners(self, kind: type[Event]) -> tuple[_Subscriber, ...]:
        listening = self._listening  # one generation: whoever subscribes meanwhile starts a new one
        found = listening.get(kind)
        if found is None:
            found = tuple(function for base, function in self._subscribers if issubclass(kind, base))
            listening[kind] = found
        return found

    def _report(self, function: _Subscriber, event: Event) -> None:
        if function in self._failed:
            return
        self._failed.add(function)
        _log.exception("a subscriber failed on %s and is kept: %r", type(event).__name__, function)
