"""Signals: the first stops the worker in good order, the second at once.

Handlers are set with `signal`, not with the event loop, and the last release goes over a connection of its
own from a thread of its own: so they work while a task blocks the loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final
from uuid import UUID

from openqueue.db.statements import Statements
from openqueue.db.target import Target, connect

__all__ = ["AT_ONCE", "LAST_RELEASE", "Stopping", "first_of", "stopping_on_signals"]

AT_ONCE: Final = 130
"""The exit code after a second signal."""

LAST_RELEASE: Final = 1.0
"""Seconds for that."""


class Stopping:
    """How a worker is told to stop, from any thread: in good order, or at once.

    Signals are counted apart: who is asked to stop and signalled as well has not been signalled twice.
    """

    def __init__(self, stop: asyncio.Event, leave: Callable[[], None]) -> None:
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._leave = leave
        self._signalled = threading.Event()

    def ask(self) -> None:
        """Let it finish what it runs. Safe to repeat, and when it has ended."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop.set)

    def leave(self) -> None:
        """Release what can be released, and exit."""
        threading.Thread(target=self._leave, daemon=True).start()

    def signalled(self, _number: int, _frame: Any) -> None:
        """A signal has come: the first asks, the next one does not."""
        if not self._signalled.is_set():
            self._signalled.set()
            self.ask()
        else:
            self.leave()


@contextmanager
def stopping_on_signals(
    stop: asyncio.Event, target: Target, statements: Statements, worker: UUID, leaving: Callable[[], None]
) -> Iterator[Stopping]:
    """Within the block SIGTERM and SIGINT set `stop`; the next one releases what it can and exits.

    `leaving` is called before that, from any thread.
    """
    stopping = Stopping(stop, partial(_leave, target, statements, worker, leaving))
    signals = [signal.SIGTERM, signal.SIGINT]
    before = {one: signal.signal(one, stopping.signalled) for one in signals}
    try:
        yield stopping
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _leave(target: Target, statements: Statements, worker: UUID, leaving: Callable[[], None]) -> None:
    leaving()
    threading.Timer(LAST_RELEASE, lambda: os._exit(AT_ONCE)).start()
    with suppress(Exception):  # the jobs are rescued then, like those of any worker that is gone
        asyncio.run(_release(target, statements, worker))
    os._exit(AT_ONCE)


async def _release(target: Target, statements: Statements, worker: UUID) -> None:
    connection = await connect(target, application="openqueue last release", timeout=LAST_RELEASE)
    await connection.fetch(statements["leave_worker"], worker)


async def first_of(*ends: Coroutine[Any, Any, object]) -> None:
    """Return as soon as one of them has ended; the others are cancelled."""
    waiting = [asyncio.create_task(one) for one in ends]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
