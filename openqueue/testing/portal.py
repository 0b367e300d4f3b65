"""An event loop in a thread of its own, for tests that have none, and for asking without `await`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Event, Thread
from typing import Any, TypeVar

__all__ = ["Portal"]

T = TypeVar("T")


class Portal:
    """Started with the first call. A call blocks its thread until the coroutine has ended."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it in the portal's loop, with the caller's context variables; its result, or what it raised."""
        if self._loop is not None and asyncio._get_running_loop() is self._loop:
            coroutine.close()
            raise RuntimeError(
                "A call that blocks, inside a task that `drain_sync` runs: await its twin there."
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self._started())
        try:
            return future.result()
        except BaseException:  # also an interrupt or a timeout of the test: nothing goes on behind its back
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop; what still runs in it is cancelled."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            started = Event()
            self._thread = Thread(
                target=lambda: asyncio.run(self._run(started)), name="openqueue-testing", daemon=True
            )
            self._thread.start()
            started.wait()
        assert self._loop is not None
        return self._loop

    async def _run(self, started: Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        started.set()
        await self._stop.wait()
