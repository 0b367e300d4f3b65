"""Coroutines for code that has no event loop, or another one.

`Background` is one loop in a daemon thread, shared by the process. A fork copies neither threads nor the
right to speak on their connections: the child gets a background of its own, and keeps the parent's untouched
for ever, as to close its loop would take the parent's sockets out of the selector that they share.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, ClassVar, TypeVar

from openqueue.errors import ConnectionFailed, OpenQueueError

__all__ = ["Background", "background", "in_place", "running_loop", "submit", "wait_for"]

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that the thread may take to close its connections at the end of the process."""


class Background:
    """An event loop in a thread, started when first asked for. `opening` guards what is opened in it once."""

    def __init__(self) -> None:
        self.opening = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running."""
        if self._loop is None:
            with self.opening:
                if self._loop is None:
                    self._loop = self._started()
        return self._loop

    def stop(self) -> None:
        """Cancel what runs there, wait for it, and end the thread."""
        if self._thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(PATIENCE)

    def _started(self) -> asyncio.AbstractEventLoop:
        began: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=self._work, args=(began,), name="openqueue-background", daemon=True
        )
        self._thread.start()
        return began.result()

    def _work(self, began: Future[asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._until_stopped(began))

    async def _until_stopped(self, began: Future[asyncio.AbstractEventLoop]) -> None:
        self._stop = asyncio.Event()
        began.set_result(asyncio.get_running_loop())
        await self._stop.wait()


def background() -> Background:
    """That of this process."""
    return _Process.background


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def submit(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin a coroutine in a loop of another thread. Raises ConnectionFailed when the loop does not run."""
    try:
        if loop.is_running():
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # it was closed just now
        pass
    coroutine.close()
    raise ConnectionFailed("The event loop of this client does not run any longer. Open another client.")


def wait_for(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of another thread, and block this one until it is done."""
    if running_loop() is loop:
        coroutine.close()
        raise OpenQueueError(
            "A call that blocks cannot be made in the event loop that would have to answer it. "
            "Await its asynchronous twin there, such as `await task.enqueue(…)`."
        )
    future = submit(loop, coroutine)
    try:
        return future.result()
    finally:
        future.cancel()  # when this thread was interrupted; else it is done


def in_place(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, here and now, whether a loop runs in this thread or not."""
    try:
        while coroutine.send(None) is None:  # it only lets others have their turn, and here are no others
            continue
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        coroutine.close()
    raise OpenQueueError("A call on a synchronous connection had to wait for an event loop; it was given up.")


class _Process:
    background = Background()
    inherited: ClassVar[list[Background]] = []


def _begin_anew() -> None:
    """In a child, after a fork."""
    _Process.inherited.append(_Process.background)
    _Process.background = Background()


def _end() -> None:
    _Process.background.stop()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
