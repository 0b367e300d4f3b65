"""Threads for synchronous tasks: as many as there are calls, reused, and never waited for at the end.

A thread cannot be stopped. One whose call does not end when told to is left behind; another takes its
place, so that the places of the pool stay usable. They are daemon threads: the process can always end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from typing import Any

__all__ = ["Call", "Threads"]


class Call:
    """A function on its way through a thread; `ended` is done when it has returned or raised."""

    __slots__ = ("_error", "_value", "ended", "function")

    def __init__(self, function: Callable[[], Any], ended: asyncio.Future[None]) -> None:
        self.function = function
        self.ended = ended
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """In the thread: whatever leaves the function is kept, a SystemExit or StopIteration too."""
        try:
            self._value = self.function()
        except BaseException as error:  # noqa: BLE001  it is raised where the call is awaited
            self._error = error

    def result(self) -> Any:
        """What the function returned; raises what it raised."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # the traceback holds this frame
        return self._value


class Threads:
    """Belongs to the event loop in which it is used; only `_work` runs elsewhere."""

    def __init__(self, most_left_behind: int) -> None:
        self.left_behind = 0
        self._most_left_behind = most_left_behind
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        self._numbers = count(1)
        self._threads = 0
        self._unfinished = 0
        self._came_back = asyncio.Event()

    async def start(self, function: Callable[[], Any]) -> Call:
        """Begin a call in a free or new thread; if too many are left behind, wait for one to come back."""
        while self.left_behind >= self._most_left_behind:
            self._came_back.clear()
            await self._came_back.wait()
        loop = asyncio.get_running_loop()
        call = Call(function, loop.create_future())
        if self._unfinished >= self._threads:
            self._threads += 1
            name = f"openqueue-task-{next(self._numbers)}"
            threading.Thread(target=self._work, args=(loop,), name=name, daemon=True).start()
        self._unfinished += 1
        self._queue.put(call)
        return call

    def leave_behind(self, call: Call) -> None:
        """Nobody waits for this call any longer."""
        self.left_behind += 1
        call.ended.add_done_callback(self._found_again)

    def close(self) -> None:
        """Idle threads end; those in a call end after it, or with the process."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (call := self._queue.get()) is not None:
            call.run()
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._finished, call)
            del call

    def _finished(self, call: Call) -> None:
        self._unfinished -= 1
        if not call.ended.done():
            call.ended.set_result(None)

    def _found_again(self, _: object) -> None:
        self.left_behind -= 1
        self._came_back.set()
