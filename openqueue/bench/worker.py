"""A worker of the benchmark, in its process: started by `crew`, told what to do on standard input.

First comes a line of JSON with the settings that are the benchmark's own; the others are the user's. Answered
is one line when it is ready, then, once it was told to go, a line with the tally whenever that has grown. It
ends with standard input, that is also when whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from openqueue.app import open_worker
from openqueue.bench.tasks import TALLY, TASKS
from openqueue.events import Events
from openqueue.garbage import collect_seldom
from openqueue.settings import Settings, load_settings
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.telemetry.logs import Logs
from openqueue.telemetry.rendering import configure_logging
from openqueue.worker.events import RunFinished

__all__ = ["settings_for", "work"]

TELL_EVERY = 0.02


async def work(tasks: Sequence[Task[..., Any]] = TASKS) -> int:
    """Be a worker of these tasks until standard input ends."""
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    threading.Thread(target=_read, args=(asyncio.get_running_loop(), lines), daemon=True).start()
    first = await lines.get()
    if first is None:
        return 0
    settings = settings_for(json.loads(first))
    configure_logging("console", settings.log_level)
    bus = Events()
    Logs(logging.getLevelName(settings.log_level.upper())).subscribe(bus)
    bus.subscribe(RunFinished, TALLY.store)
    stop = asyncio.Event()
    collect_seldom()
    async with open_worker(settings, registry=Registry(tasks), bus=bus) as worker:
        _say({"ready": os.getpid()})
        if await lines.get() is not None:
            telling = asyncio.create_task(_tell())
            ending = asyncio.create_task(_end(lines, stop))
            await worker.run(stop)
            await ending
            telling.cancel()
        return 1 if worker.unsaved else 0


def settings_for(own: dict[str, Any]) -> Settings:
    """The user's settings, but for the benchmark's own, and for which tasks and queues a worker serves."""
    return load_settings(**own, dirs=(), modules=(), queues=(), health="off", name="bench")


async def _tell() -> None:
    """Say how far it is; waits are said once."""
    told = 0
    while True:
        if TALLY.begun + TALLY.stored != told:
            told = TALLY.begun + TALLY.stored
            _say(asdict(TALLY))
            TALLY.waits.clear()
        await asyncio.sleep(TELL_EVERY)


async def _end(lines: asyncio.Queue[bytes | None], stop: asyncio.Event) -> None:
    while await lines.get() is not None:
        pass
    stop.set()


def _say(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _read(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes | None]) -> None:
    """Pass on the lines of standard input; not by sys.stdin, whose lock the interpreter wants at its end."""
    rest = b""
    while more := os.read(0, 65536):
        *whole, rest = (rest + more).split(b"\n")
        for line in whole:
            loop.call_soon_threadsafe(lines.put_nowait, line)
    loop.call_soon_threadsafe(lines.put_nowait, None)
