"""Notices, from a thread of its own, that the event loop does not turn, and tells which task keeps it.

A task that is `async def` and never awaits (it computes, or calls something that waits, such as `requests` or
`time.sleep`) keeps every other task of the process from going on. Nothing in the loop could say so meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from types import FrameType
from typing import Final

from openqueue.events import Emit
from openqueue.worker.events import LoopBlocked, LoopFreed
from openqueue.worker.job import Job

__all__ = ["Watchdog", "place_of"]

EVERY: Final = 0.5
"""Seconds between looks."""

_LIBRARY: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


class Watchdog:
    """Emits LoopBlocked once the loop has not turned for `patience` seconds, LoopFreed once it does again.

    It looks only while attempts are under way, which `running` answers: it is asked from the thread, also
    while the loop stands still.
    """

    def __init__(self, running: Callable[[], Collection[Job]], emit: Emit, *, patience: float = 1.0) -> None:
        self._running = running
        self._emit = emit
        self._patience = patience
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._home = threading.get_ident()
        self._asked = 0.0
        self._answered = 0.0
        self._is_told = False

    async def run(self) -> None:
        """Watch until cancelled."""
        thread = threading.Thread(target=self._watch, name="openqueue-watchdog", daemon=True)
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._stop.set()

    def _watch(self) -> None:
        self._ask()
        while not self._stop.wait(min(EVERY, self._patience / 2)):
            with suppress(RuntimeError):  # the loop is closed, or turned while it was looked at
                self.once()

    def once(self) -> None:
        """In the thread: look whether the loop has answered."""
        if self._answered >= self._asked:
            if self._is_told:
                self._is_told = False
                self._emit(LoopFreed(round(self._answered - self._asked, 3)))
            if self._running():  # a loop without work has no need to be woken
                self._ask()
        elif not self._is_told and time.monotonic() - self._asked >= self._patience:
            self._is_told = True
            self._tell()

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered = time.monotonic()

    def _tell(self) -> None:
        current = asyncio.current_task(self._loop)
        job = next((job for job in list(self._running()) if job.runner is current), None) if current else None
        place = place_of(sys._current_frames().get(self._home))
        seconds = round(time.monotonic() - self._asked, 3)
        self._emit(LoopBlocked(job.task if job else None, job.id if job else None, seconds, place))


def place_of(frame: FrameType | None) -> str:
    """Where a thread is: the innermost line that is not of Python's or an installed library."""
    stack = (
        [one for one in traceback.extract_stack(frame) if not one.filename.startswith("<")] if frame else []
    )
    own = [one for one in stack if not one.filename.startswith(_LIBRARY)]
    return next((f"{one.filename}:{one.lineno} in {one.name}" for one in reversed(own or stack)), "")
