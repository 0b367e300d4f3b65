"""Tasks that run in processes of their own, for the tests of what may happen to those."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openqueue import Cancelled, Context, GiveUp, Snooze, task

colour: ContextVar[str] = ContextVar("colour", default="none")


@dataclass
class Point:
    x: int
    y: int


class Picky(Exception):
    """Cannot be unpickled: its `__init__` wants more than it keeps."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


class Plain(Exception):
    pass


@task(name="process.move", executor="process")
def move(point: Point, by: int = 1) -> Point:
    return Point(point.x + by, point.y + by)


@task(name="process.pid", executor="process")
def pid() -> int:
    return os.getpid()


@task(name="process.thread_pid")
def thread_pid() -> int:
    return os.getpid()


@task(name="process.talk", executor="process")
def talk(*, ctx: Context = Context.injected) -> dict[str, Any]:
    for number in range(3):
        ctx.log.info("line", number=number, odd=object)
        ctx.progress({"done": number})
    return {
        "attempt": ctx.attempt,
        "max_attempts": ctx.max_attempts,
        "queue": ctx.queue,
        "tags": ctx.tags,
        "meta": ctx.meta,
        "task": ctx.task,
        "run": str(ctx.run_id),
        "due": ctx.scheduled_at is not None,
        "cancelled": bool(ctx.cancelled),
        "colour": colour.get(),
    }


@task(name="process.shout", executor="process")
def shout(lines: int, *, ctx: Context = Context.injected) -> None:
    for number in range(lines):
        ctx.log.info("x" * 20_000, number=number)


@task(name="process.child", executor="process")
def child(n: int) -> int:
    return n


@task(name="process.parent", executor="process")
def parent(*, ctx: Context = Context.injected) -> list[str]:
    return [str(child.enqueue_sync(1).id), str(ctx.enqueue_sync(child, 2).id)]


@task(name="process.leave", executor="process", max_attempts=2, backoff="10ms")
def leave(how: str, *, ctx: Context = Context.injected) -> str:
    errors = {
        "picky": Picky(7, why="because"),
        "group": ExceptionGroup("many", [ValueError("a")]),
        "give up": GiveUp("no use"),
        "cancelled": Cancelled("as I wish"),
    }
    if how in errors:
        raise errors[how]
    if how == "value":
        raise ValueError("bad luck") from KeyError("inner")
    if how == "plain":
        raise Plain("plain")
    if how == "snooze":
        raise Snooze("10ms") if not Path(str(ctx.meta["file"])).exists() else Plain("twice")
    if how == "sys.exit":
        sys.exit(3)
    if how == "output":
        return object()  # type: ignore[return-value]
    if how == "huge output":
        return "x" * 3_000_000
    return how


@task(name="process.die", executor="process", max_attempts=1)
def die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)


@task(name="process.timeless", executor="process", timeout="3s", max_attempts=1)
def timeless(file: str, deaf: bool) -> None:
    _wait(file, deaf=deaf)


@task(name="process.long", executor="process", backoff="10ms")
def long(file: str, deaf: bool = False) -> None:
    _wait(file, deaf=deaf)


def _wait(file: str, *, deaf: bool) -> None:
    """Tell who we are, and a program that we start; then wait for ever."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    program = subprocess.Popen(["sleep", "600"])
    note(file, f"{os.getpid()} {program.pid}")
    try:
        while True:
            time.sleep(600)
    finally:
        note(file + ".cleaned", "yes")


@task(name="process.polite", executor="process")
def polite(file: str, *, ctx: Context = Context.injected) -> None:
    note(file, str(os.getpid()))
    ctx.cancelled.wait_in_thread("60s")
    raise Cancelled("as you wish")


def note(file: str, text: str) -> None:
    """Write it so that it is there whole or not at all."""
    Path(file + ".new").write_text(text)
    Path(file + ".new").rename(file)


@task(name="process.log_by_hand", executor="process")
def log_by_hand(too_many: int) -> None:
    logging.getLogger("process").setLevel(logging.INFO)  # the root of a new process lets warnings through
    for number in range(1_000 + too_many):
        if number % 2:
            logging.getLogger("process").info("said", extra={"n": number})
        else:
            logging.getLogger("process").warning("said", extra={"n": number})


NEXT, SAID = threading.Event(), threading.Event()


@task(name="process.leave_behind", executor="process")
def leave_behind() -> None:
    """Leaves a thread that speaks in its context when the next run of this process has begun."""
    context = copy_context()

    def later() -> None:
        NEXT.wait(120)
        logging.getLogger("process").warning("said by the one before")
        SAID.set()

    threading.Thread(target=context.run, args=(later,), daemon=True).start()


@task(name="process.next_one", executor="process")
def next_one() -> bool:
    """Whether the one before has spoken meanwhile."""
    NEXT.set()
    return SAID.wait(120)


@task(name="process.log_quietly", executor="process", capture_logs="off")
def log_quietly() -> None:
    logging.getLogger("process").warning("not for the run")
