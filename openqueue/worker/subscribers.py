"""Subscribers of the program: told of what happens, each at its own pace, and never in the worker's way.

`subscribe` is for the whole process. Each worker keeps a queue for each subscriber: a coroutine function is
called in the worker's event loop, another one in a thread of its own. Whoever raises, or falls so far behind
that events have to be dropped, is reported once and kept.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import fields
from inspect import iscoroutinefunction
from types import UnionType
from typing import Any, Final, TypeVar, get_args

from openqueue.codec import decode
from openqueue.errors import InvalidOption
from openqueue.events import Event, Events, Unsubscribe
from openqueue.worker.events import RunFinished

__all__ = ["AttemptFailed", "Audience", "attended", "subscribe"]

PATIENCE: Final = 2.0
"""Seconds that subscribers have at the end to hear what is left."""

LONGEST_QUEUE: Final = 10_000
"""Events that may wait for one subscriber; what happens then is dropped for it."""

E = TypeVar("E", bound=Event)
Callback = Callable[[E], object]
"""A function, or a coroutine function: what it answers is not used."""

_log = logging.getLogger("openqueue.events")
_lock = threading.Lock()
_subscriptions: list[Subscription] = []
_audiences: list[Audience] = []


class AttemptFailed(RunFinished):
    """An attempt has failed: for good (`outcome` is 'failed'), or to be tried again after `delay` seconds."""

    __slots__ = ()

    @property
    def is_final(self) -> bool:
        """Whether no further attempt follows."""
        return self.outcome == "failed"

    @property
    def reason(self) -> dict[str, Any]:
        """The error as it is stored: type, message, traceback, causes, retryable."""
        described: dict[str, Any] = decode(self.error) if self.error else {}
        return described


class Subscription:
    """What somebody wants to hear of, and whom to call."""

    def __init__(self, kinds: tuple[type[Event], ...], callback: Callable[[Any], Any]) -> None:
        self.kinds = kinds
        self.callback = callback
        self.is_async = iscoroutinefunction(callback)
        self.reported: set[str] = set()

    def report(self, what: str, *args: object, error: bool = False) -> None:
        """Tell of a fault of the subscriber, once for each kind of fault."""
        if what not in self.reported:
            self.reported.add(what)
            _log.error(what, *args, self.callback, exc_info=error)


def subscribe(kinds: type[E] | UnionType, callback: Callback[E], /) -> Unsubscribe:
    """Call `callback` with each of these events of the workers in this process; returns how to stop that.

    ``subscribe(AttemptFailed, report)``, ``subscribe(RunStarted | RunFinished, count)``. A worker goes on
    without waiting for it. What one attempt does is told in order; the next attempt may start before it is
    known here that the end of this one is stored. Raises InvalidOption for what is no kind of event, or
    cannot be called.
    """
    wanted = get_args(kinds) if isinstance(kinds, UnionType) else (kinds,)
    for kind in wanted:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise InvalidOption(
                f"subscribe: {kind!r} is no kind of event. There are RunStarted, RunFinished, AttemptFailed"
                " and those in openqueue.worker.events.",
                option="kinds",
            )
    if not callable(callback):
        raise InvalidOption(f"subscribe: {callback!r} cannot be called with an event.", option="callback")
    made = Subscription(wanted, callback)
    with _lock:
        _subscriptions.append(made)
        for audience in _audiences:
            audience.admit(made)

    def unsubscribe() -> None:
        with _lock, suppress(ValueError):
            _subscriptions.remove(made)
            for audience in _audiences:
                audience.dismiss(made)

    return unsubscribe


@asynccontextmanager
async def attended(bus: Events) -> AsyncIterator[Audience]:
    """Within the block, who has subscribed hears what this bus carries; at its end it has a moment more."""
    audience = Audience(bus)
    with _lock:
        _audiences.append(audience)
        for one in _subscriptions:
            audience.admit(one)
    try:
        yield audience
    finally:
        await audience.told(PATIENCE)
        with _lock:
            _audiences.remove(audience)
            for one in _subscriptions:
                audience.dismiss(one)


class Audience:
    """The subscribers of one bus, each with its queue."""

    def __init__(self, bus: Events) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._queues: dict[Subscription, tuple[Queue, list[Unsubscribe]]] = {}

    def admit(self, one: Subscription) -> None:
        """Tell this one from now on."""
        queue = Queue(one, self._loop)
        stops = []
        for kind in one.kinds:
            if kind is AttemptFailed:
                stops.append(self._bus.subscribe(RunFinished, _failures_to(queue.put)))
            else:
                stops.append(self._bus.subscribe(kind, queue.put))
        self._queues[one] = queue, stops

    def dismiss(self, one: Subscription) -> None:
        """Tell this one no more; what waits for it is still delivered, if it is quick."""
        queue, stops = self._queues.pop(one, (None, []))
        for stop in stops:
            stop()
        if queue is not None:
            queue.close()

    async def told(self, seconds: float) -> None:
        """Return when everyone has been told everything, or so many seconds are over."""
        ends = time.monotonic() + seconds
        for queue, _ in list(self._queues.values()):
            while queue.behind and time.monotonic() < ends:  # noqa: ASYNC110  threads deliver, too
                await asyncio.sleep(0.001)


class Queue:
    """Events on their way to one subscriber, in order. `put` may be called in any thread."""

    def __init__(self, subscription: Subscription, loop: asyncio.AbstractEventLoop) -> None:
        self._to = subscription
        self._loop = loop
        self._context = copy_context()  # not that of the attempt whose event comes first
        self._events: deque[Event] = deque()
        self._more = threading.Condition()
        self._open = True
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self.behind = False
        """Whether there is something that it has not been told."""

    def put(self, event: Event) -> None:
        """Take an event in, and see to it that somebody delivers."""
        with self._more:
            if len(self._events) >= LONGEST_QUEUE:
                self._to.report("a subscriber is too slow, and events are dropped for it: %r")
                return
            self._events.append(event)
            began, self.behind = self.behind, True
            if began:
                return
            self._more.notify()
        if self._to.is_async:
            with suppress(RuntimeError):  # the loop is closed: nobody delivers any more
                self._loop.call_soon_threadsafe(self._begin, context=self._context)
        elif self._thread is None:
            self._thread = threading.Thread(target=self._deliver, name="openqueue-subscriber", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Nobody puts anything any more. A coroutine that is still at it is cancelled."""
        with self._more:
            self._open = False
            self._more.notify()
        if self._task is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._deliver_here(), name="openqueue:subscriber")

    def _next(self, *, wait: bool) -> Event | None:
        """The next event; without any None, or after a wait, which ends with `close`."""
        with self._more:
            while not self._events:
                self.behind = False
                if not (wait and self._open):
                    return None
                self._more.wait()
            return self._events.popleft()

    def _deliver(self) -> None:
        while (event := self._next(wait=True)) is not None:
            try:
                self._to.callback(event)
            except Exception:  # noqa: BLE001  a subscriber must never stop the worker
                self._failed(event)

    async def _deliver_here(self) -> None:
        while (event := self._next(wait=False)) is not None:
            try:
                await self._to.callback(event)
            except Exception:  # noqa: BLE001  as above
                self._failed(event)

    def _failed(self, event: Event) -> None:
        self._to.report("a subscriber failed on %s and is kept: %r", type(event).__name__, error=True)


def _failures_to(put: Callable[[Event], None]) -> Callable[[RunFinished], None]:
    """RunFinished, where it is a failure, as AttemptFailed."""

    def told(event: RunFinished) -> None:
        if event.outcome in ("failed", "retry"):
            put(AttemptFailed(*(getattr(event, field.name) for field in fields(event))))

    return told
