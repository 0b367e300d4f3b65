"""A flag that says "stop", heard from a coroutine and from a thread alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from openqueue.durations import Duration, parse_duration

__all__ = ["Cancellation"]


class Cancellation:
    """Set once, when the run is cancelled or its worker wants to stop; costs nothing until waited for.

    Truth is the flag, so `while not ctx.cancelled:` reads as it should.
    """

    __slots__ = ("_is_set", "_waiting")
    _lock = threading.Lock()  # one for all: it is held for an append

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[Callable[[], object]] = []

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    __bool__ = is_set

    def set(self) -> None:
        """Set it and wake everyone who waits; from any thread, as often as one likes."""
        with self._lock:
            self._is_set = True
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    async def wait(self) -> None:
        """Return when it is set."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[None] = loop.create_future()

        def hear() -> None:
            if not heard.done():
                heard.set_result(None)

        def wake() -> None:
            with suppress(RuntimeError):  # the loop that waited is closed
                loop.call_soon_threadsafe(hear)

        if self._await(wake):
            try:
                await heard
            finally:
                self._forget(wake)

    def wait_in_thread(self, timeout: Duration | None = None) -> bool:
        """Block this thread until it is set or `timeout` is over; returns whether it is set."""
        seconds = None if timeout is None else parse_duration(timeout, field="timeout").total_seconds()
        heard = threading.Event()
        if self._await(heard.set):
            heard.wait(seconds)
            self._forget(heard.set)
        return self._is_set

    def _await(self, wake: Callable[[], object]) -> bool:
        with self._lock:
            if not self._is_set:
                self._waiting.append(wake)
            return not self._is_set

    def _forget(self, wake: Callable[[], object]) -> None:
        with self._lock, suppress(ValueError):
            self._waiting.remove(wake)
