"""A process of tasks, seen from the inside: it waits for work, does it, and says how it ended.

Tasks run in the main thread, so that signals and libraries that want it work; another thread listens.
When the worker is gone, so is its end of the socket, and the process ends: at once if it is idle, else after
the task had a moment to clean up. SIGTERM raises SystemExit in the task.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import partial
from importlib import import_module
from logging import LogRecord
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final
from uuid import UUID

from openqueue.codec import decode
from openqueue.errors import ConfigError
from openqueue.tasks.cancellation import Cancellation
from openqueue.tasks.captured import capture_for_good, level_number, told
from openqueue.tasks.context import Context
from openqueue.tasks.enqueuer import sync_enqueuer
from openqueue.tasks.naming import set_roots
from openqueue.tasks.options import TaskOptions
from openqueue.tasks.places import place
from openqueue.tasks.runlog import EmitLog, Lines, RunLog
from openqueue.tasks.surrounding import wrapped
from openqueue.tasks.task import Task
from openqueue.worker.processes.frames import Kind, read_sync
from openqueue.worker.processes.orders import Order, Place, context_of, find_task, loading
from openqueue.worker.processes.remote import pack_error
from openqueue.worker.processes.saying import Saying, Voice

__all__ = ["main"]

LAST_MOMENT: Final = 0.5
"""Seconds that a task has to clean up once its worker is gone."""


def main(descriptor: int) -> None:
    """Serve the worker at the other end of this socket until it says END, or is gone."""
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Child(socket.socket(fileno=descriptor)).run()


class Child:
    """The process. Only `_listen` and what tasks say are in other threads than the main one."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._saying = Saying(connection)
        self._work: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._tasks: dict[str, Task[..., Any]] = {}  # by file and line
        self._cancelled = Cancellation()
        self._busy = False
        self._ending = False

    def run(self) -> None:
        """Work until told to end."""
        first = read_sync(self._stream)
        if first is None:
            return
        signal.signal(signal.SIGTERM, self._terminated)
        threading.Thread(target=self._listen, name="openqueue-process", daemon=True).start()
        self._answer(partial(_prepare, pickle.loads(first[1])))  # noqa: S301  it comes from the worker
        while not self._ending and (frame := self._work.get()) is not None:
            kind, data = frame
            ask: Any = self._load if kind == Kind.LOAD else self._attempt
            self._answer(partial(ask, decode(data)))

    def _listen(self) -> None:
        while (frame := read_sync(self._stream)) is not None:
            kind, _ = frame
            if kind == Kind.CANCEL:
                self._cancelled.set()
            elif kind == Kind.END:
                self._work.put(None)
            else:
                if kind == Kind.RUN:
                    self._cancelled = Cancellation()
                self._work.put(frame)
        self._left_alone()

    def _left_alone(self) -> None:
        """The worker is gone: whatever runs here is not its own any longer."""
        self._cancelled.set()
        self._work.put(None)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(LAST_MOMENT)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)  # with the programs that the task has started
        os.kill(os.getpid(), signal.SIGKILL)

    def _terminated(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        self._cancelled.set()
        if self._busy:
            self._busy = False
            raise SystemExit("the process of the task was told to end (SIGTERM)")
        self._work.put(None)

    def _answer(self, ask: partial[str]) -> None:
        """Do what was asked, and say how it ended; whatever leaves it is told, a SystemExit too."""
        options = TaskOptions()
        try:
            answer = Kind.RESULT, ask()
        except BaseException as error:  # noqa: BLE001  it is raised in the worker
            task = self._tasks.get(ask.args[0].get("place"))
            answer = Kind.ERROR, pack_error(_inside(error), task.defaults if task else options)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self._saying.send(*answer)

    def _load(self, order: Place) -> str:
        with loading():
            self._tasks[order["place"]] = wrapped(find_task(order))
        return "null"

    def _attempt(self, order: Order) -> str:
        task = self._tasks[order["place"]]
        arguments = task.arguments.parse(order["input"])
        voice = Voice(self._saying)
        lines = Lines(voice.log)
        if task.arguments.context_parameter is not None:
            arguments[task.arguments.context_parameter] = self._context(order, lines, voice)
        attempt = copy_context()
        if order["capture_logs"] != "off":
            capture_for_good()
            attempt.run(place.set, InProcess(lines, voice.log, level_number(order["capture_logs"])))
        try:
            value = attempt.run(self._call, partial(task.function, **arguments))
        finally:
            lines.close()
            voice.end()
        return task.arguments.dump_output(value, max_bytes=order["largest_output"])

    def _call(self, function: Any) -> Any:
        self._busy = True
        try:
            return function()
        finally:
            self._busy = False

    def _context(self, order: Order, lines: Lines, voice: Voice) -> Context:
        return Context(
            **context_of(order),
            open_log=lambda: RunLog(voice.log, admit=lines.admit),
            emit_progress=voice.progress,
            cancelled=self._cancelled,
            sync=sync_enqueuer(),
        )


class InProcess:
    """The place of an attempt in a process of its own: it takes none of those of the worker."""

    def __init__(self, lines: Lines, emit: EmitLog, least: int) -> None:
        self._lines = lines
        self._emit = emit
        self._least = least

    def waiting_for(self, _run_id: UUID) -> AbstractContextManager[None]:
        """Nobody is told that the attempt waits."""
        return nullcontext()

    def hear(self, record: LogRecord) -> None:
        """The attempt has logged this."""
        if record.levelno >= self._least and self._lines.admit():
            self._emit(*told(record))


def _prepare(hello: dict[str, Any]) -> str:
    """Be like the worker: its arguments, its task directories, its client, its framework."""
    sys.argv[:] = hello["argv"]
    set_roots(hello["roots"])
    for module, function, arguments in hello["preparations"]:
        try:
            getattr(import_module(module), function)(*arguments)
        except Exception as error:
            raise ConfigError(
                f"{module}.{function}(), which prepares a process for tasks, failed."
            ) from error
    return "null"


def _inside(error: BaseException) -> BaseException:
    """The error with a traceback that begins in the task, if it got there."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace) if trace is not None else error
