"""Signals: the first stops the worker in good order, the second at once.

Handlers are set with `signal`, not with the event loop, and the last release goes over a connection of its
own from a thread of its own: so they work while a task blocks the loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final
from uuid import UUID

from openqueue.db.statements import Statements
from openqueue.db.target import Target, connect

__all__ = ["AT_ONCE", "stopping_on_signals"]

AT_ONCE: Final = 130
"""The exit code after a second signal."""

LAST_RELEASE: Final = 1.0


@contextmanager
def stopping_on_signals(
    stop: asyncio.Event, target: Target, statements: Statements, worker: UUID
) -> Iterator[None]:
    """Within the block SIGTERM and SIGINT set `stop`; the next one releases what it can and exits."""
    loop = asyncio.get_running_loop()
    signals = [signal.SIGTERM, signal.SIGINT]

    def heard(_number: int, _frame: Any) -> None:
        if not stop_asked.is_set():
            stop_asked.set()
            loop.call_soon_threadsafe(stop.set)
        else:
            threading.Thread(target=_leave, args=(target, statements, worker), daemon=True).start()

    stop_asked = threading.Event()
    before = {one: signal.signal(one, heard) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _leave(target: Target, statements: Statements, worker: UUID) -> None:
    threading.Timer(LAST_RELEASE, lambda: os._exit(AT_ONCE)).start()
    with suppress(Exception):  # the jobs are rescued then, like those of any worker that is gone
        asyncio.run(_release(target, statements, worker))
    os._exit(AT_ONCE)


async def _release(target: Target, statements: Statements, worker: UUID) -> None:
    connection = await connect(target, application="openqueue last release", timeout=LAST_RELEASE)
    await connection.fetch(statements["leave_worker"], worker)
