"""`openqueue top` on a terminal: looks again and again, and obeys keys."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from openqueue.cli.output import console
from openqueue.cli.session import client
from openqueue.cli.top_page import View, page
from openqueue.cli.top_snapshot import Snapshot, read_snapshot
from openqueue.errors import OpenQueueError

if TYPE_CHECKING:
    from rich.live import Live

    from openqueue.runs.client import Client
    from openqueue.settings import Settings

__all__ = ["Screen", "keys_of", "show"]

AT_ONCE: Final = 100
"""Failed runs that one press retries."""

SAID_FOR: Final = 6.0
"""Seconds that an answer stays."""

ANSWERS_WITHIN: Final = 3.0
"""Seconds after which it is told that the database has not answered yet."""

_NAMED: Final = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}
_KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|.", re.DOTALL)
"""One key: what begins with an escape and goes on as one belongs together."""


async def show(settings: Settings, queue: str, every: float) -> None:
    """Until q is pressed. Raises what keeps it from beginning."""
    from rich.live import Live

    async with client(settings) as opened:
        with _keys() as keys, Live(console=console(), screen=True, auto_refresh=False) as live:
            await Screen(opened, settings, queue, live).run(keys, every)


class Screen:
    """What is on the screen, and what the keys do to it."""

    def __init__(self, opened: Client, settings: Settings, queue: str, live: Live) -> None:
        self.view = View(filter=queue)
        self.now: Snapshot | None = None
        self._client = opened
        self._silence = 3 * settings.heartbeat.total_seconds()
        self._live = live
        self._asked: str | None = None
        self._said_at = 0.0
        self._begun = self._shown = 0
        self._looked_at = time.monotonic()
        self._looking: asyncio.Task[None] | None = None
        self._acting: asyncio.Task[None] | None = None

    async def run(self, keys: asyncio.Queue[str], every: float) -> None:
        """Look, draw, obey, until told to leave. Whatever the database does, keys are obeyed."""
        next_look = 0.0
        try:
            while True:
                if time.monotonic() >= next_look and _over(self._looking) and not self.view.frozen:
                    self._looking = asyncio.create_task(self._look())
                    next_look = time.monotonic() + every
                _over(self._acting)
                self._draw()
                key = await _next(keys, min(max(next_look - time.monotonic(), 0.02), 0.5))
                if key and not self._obey(key):
                    return
        finally:
            for task in (self._looking, self._acting):
                if task is not None:
                    task.cancel()

    async def _look(self) -> None:
        self._begun = mine = self._begun + 1
        self._looked_at = time.monotonic()
        try:
            found = await read_snapshot(self._client, self._silence, self.view.filter)
        except OpenQueueError as error:
            self.view.fault = (
                f"The database does not answer: {error} `openqueue doctor` looks what it may be."
            )
            return
        if mine < self._shown:  # one that began later, as after a pause, has been quicker
            return
        self._shown = mine
        self.view.fault = ""
        self.view.rates.read(time.monotonic(), found.totals)
        self.now = found

    def _draw(self) -> None:
        from rich.text import Text

        if self.view.said and time.monotonic() > self._said_at + SAID_FOR and self._asked is None:
            self.view.said = ""
        waited = 0.0 if _over(self._looking) else time.monotonic() - self._looked_at
        self.view.silent = waited if waited >= ANSWERS_WITHIN else 0.0
        width, height = self._live.console.size
        lines = page(self.now, self.view, width, height)
        self._live.update(Text("\n").join(lines), refresh=True)

    def _obey(self, key: str) -> bool:
        """Do what a key says; False: leave."""
        view = self.view
        if self._asked is not None:
            self._answered(key)
        elif view.typing:
            self._type(key)
        elif key in ("q", "\x03"):
            return False
        elif key in ("up", "down", "k", "j"):
            self._choose(1 if key in ("down", "j") else -1)
        elif key == " ":
            view.frozen = not view.frozen
        elif key == "/":
            view.typing = True
        elif key == "p":
            self._pause()
        elif key == "r":
            self._ask_retry()
        return True

    def _type(self, key: str) -> None:
        view = self.view
        if key in ("\r", "\n", "\x1b"):
            view.typing = False
            view.filter = "" if key == "\x1b" else view.filter
        elif key in ("\x7f", "\b"):
            view.filter = view.filter[:-1]
        elif key.isprintable() and len(key) == 1:
            view.filter += key

    def _names(self) -> list[str]:
        return [row["queue"] for row in self.now.queues] if self.now else []

    def _choose(self, step: int) -> None:
        names = self._names()
        if names:
            chosen = self.view.chosen
            place = names.index(chosen) + step if chosen in names else 0
            self.view.chosen = names[max(0, min(place, len(names) - 1))]

    def _chosen(self) -> str | None:
        names = self._names()
        if self.view.chosen not in names:
            self._say("Choose a queue first: arrow keys, or j and k." if names else "There is no queue.")
            return None
        return self.view.chosen

    def _pause(self) -> None:
        queue = self._chosen()
        if queue is None or self.now is None:
            return
        (row,) = [one for one in self.now.queues if one["queue"] == queue]
        self._act(self._pause_queue(queue) if row["paused"] is None else self._resume_queue(queue))

    async def _pause_queue(self, queue: str) -> str:
        await self._client.controls.pause(queue=queue, reason="by openqueue top")
        return f"{queue} is paused: what runs goes on. p resumes it."

    async def _resume_queue(self, queue: str) -> str:
        await self._client.controls.resume(queue=queue)
        return f"{queue} goes on."

    def _ask_retry(self) -> None:
        self._asked = self._chosen()
        if self._asked is not None:
            self._say(f"Retry the newest failed runs of {self._asked}, up to {AT_ONCE}? y, or any other key.")

    def _answered(self, key: str) -> None:
        queue, self._asked = self._asked, None
        if key != "y" or queue is None:
            self._say("Nothing was retried.")
            return
        self._act(self._retry(queue))

    async def _retry(self, queue: str) -> str:
        from openqueue.runs.filter import RunFilter

        failed = await self._client.list_runs(RunFilter(queue=queue, status=("failed",), limit=AT_ONCE))
        for run in failed:
            await self._client.retry(run.id)
        one = len(failed) == 1
        return f"{len(failed)} run{'' if one else 's'} of {queue} go{'es' if one else ''} again."

    def _act(self, action: Coroutine[Any, Any, str]) -> None:
        """Begin what a key asks for, unless the last one is still at it."""
        if not _over(self._acting):
            action.close()
            self._say("Not yet: the database has not answered what was asked before.")
            return
        self._acting = asyncio.create_task(self._acted(action))

    async def _acted(self, action: Coroutine[Any, Any, str]) -> None:
        try:
            self._say(await action)
        except OpenQueueError as error:
            self._say(str(error))
        await self._look()

    def _say(self, text: str) -> None:
        self.view.said, self._said_at = text, time.monotonic()


def _over(task: asyncio.Task[None] | None) -> bool:
    """Whether nothing is under way; what went wrong unforeseen ends the program."""
    if task is None or not task.done():
        return task is None
    task.result()
    return True


async def _next(keys: asyncio.Queue[str], seconds: float) -> str:
    """The next key; '' if none comes for so long."""
    try:
        async with asyncio.timeout(seconds):
            return await keys.get()
    except TimeoutError:
        return ""


@contextmanager
def _keys() -> Iterator[asyncio.Queue[str]]:
    """Within the block, what is typed, key by key; the terminal is as before after it."""
    import termios
    import tty

    keys: asyncio.Queue[str] = asyncio.Queue()
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(descriptor, 1024)
        for key in keys_of(data.decode(errors="ignore")) if data else ["q"]:
            keys.put_nowait(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield keys
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def keys_of(text: str) -> list[str]:
    """What was typed, as keys: arrows by their names; other keys without a character are none. Pure."""
    keys = [_NAMED.get(key, key) for key in _KEY.findall(text)]
    return [key for key in keys if key == "\x1b" or not key.startswith("\x1b")]
