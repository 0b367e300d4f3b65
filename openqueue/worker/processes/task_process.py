"""One process of tasks, seen from its worker: started, asked, listened to, and ended for certain."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

from openqueue.codec import decode, encode
from openqueue.errors import ConfigError, ProcessDied
from openqueue.tasks.naming import roots
from openqueue.tasks.surrounding import Preparation
from openqueue.tasks.task import Task
from openqueue.worker.processes.frames import Kind, packed, read
from openqueue.worker.processes.orders import Order, place_of
from openqueue.worker.processes.remote import unpack_error

__all__ = ["Said", "TaskProcess", "in_time"]

Said = Callable[[int, Any], None]
"""Called with LOG and [level, message, fields], or with PROGRESS and a patch."""

BEGIN: Final = 60.0
"""Seconds that a process may take to start, and to import a task's module."""

TERM_GRACE: Final = 0.3
"""Seconds between SIGTERM and SIGKILL."""

GOODBYE: Final = 5.0
"""Seconds that an idle process may take to end by itself."""

_CODE: Final = (
    "import sys; sys.path[:] = {path!r}; "
    "from openqueue.worker.processes.child import main; main({descriptor})"
)


class TaskProcess:
    """One process: what it is asked, and what it answers. `runs`: the attempts it has had."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.runs = 0
        self.answer: asyncio.Future[bytes] | None = None
        self._process = process
        self._reader, self._writer = streams
        self._loaded: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._said: Said | None = None
        self._listening = asyncio.create_task(self._listen(), name=f"openqueue:process {process.pid}")
        self._watching = asyncio.create_task(self._watch(), name=f"openqueue:process {process.pid} ends")

    @classmethod
    async def start(cls, prepare: Iterable[Preparation]) -> Self:
        """Start one. Raises ProcessDied, and ConfigError where it cannot be prepared."""
        if os.name != "posix":
            raise ConfigError(
                "executor='process' needs a POSIX system: a process is given a socket, and signals."
            )
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]  # as multiprocessing
                    *("-c", _CODE.format(path=sys.path, descriptor=theirs.fileno())),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # it hears no Ctrl-C, and is killed as a group
                )
            ours.setblocking(False)
            made = cls(process, await asyncio.open_connection(sock=ours))
        except BaseException:
            ours.close()
            raise
        hello = {"argv": sys.argv, "roots": roots(), "preparations": list(prepare)}
        async with in_time(made.pid, "start"):
            try:
                await made._ask(Kind.HELLO, pickle.dumps(hello))
            except BaseException:
                await made.kill()
                raise
        return made

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None and not self._listening.done()

    @property
    def busy(self) -> bool:
        """Whether it was asked something and has not answered."""
        return self.answer is not None and not self.answer.done()

    async def load(self, task: Task[..., Any]) -> None:
        """Let it import the task, unless it has. Raises what the import raises there."""
        if task.place not in self._loaded:
            place, renamed = place_of(task)
            self._renamed.update(renamed)
            await self._ask(Kind.LOAD, encode(place))
            self._loaded.add(task.place)

    async def run(self, order: Order, said: Said) -> str:
        """One attempt; its result as JSON. Raises what the task raises, and ProcessDied."""
        self.runs += 1
        self._said = said
        try:
            return (await self._ask(Kind.RUN, encode(order))).decode()
        finally:
            self._said = None

    async def ends_soon(self, seconds: float) -> bool:
        """Tell the attempt that it is cancelled; says whether it has ended within so many seconds."""
        self._send(Kind.CANCEL)
        if self.answer is not None:
            await asyncio.wait([self.answer], timeout=seconds)
        return not self.busy

    def result(self) -> str:
        """What the attempt has returned; raises what it has raised."""
        assert self.answer is not None
        return self.answer.result().decode()

    async def kill(self) -> None:
        """End it and what it has started: SIGTERM, and soon SIGKILL. Also when this is cancelled."""
        try:
            self._signal(signal.SIGTERM)
            await asyncio.wait([self._watching], timeout=TERM_GRACE)
        finally:
            self._signal(signal.SIGKILL)
        await asyncio.wait([self._watching])

    async def retire(self) -> None:
        """Let an idle one end by itself."""
        try:
            self._send(Kind.END)
            await asyncio.wait([self._watching], timeout=GOODBYE)
        finally:
            await self.kill()

    async def _ask(self, kind: Kind, data: bytes | str) -> bytes:
        self.answer = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(_retrieved)
        if self._watching.done():
            raise ProcessDied(_how(self.pid, self._process.returncode))
        self._send(kind, data)
        return await asyncio.shield(self.answer)

    def _send(self, kind: Kind, data: bytes | str = b"") -> None:
        with suppress(ConnectionError, RuntimeError):  # it is gone: _watch says so
            self._writer.write(packed(kind, data))

    async def _listen(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, data = await read(self._reader)
                if kind in (Kind.LOG, Kind.PROGRESS):
                    if self._said is not None:
                        self._said(kind, decode(data))
                elif self.answer is not None and not self.answer.done():
                    if kind == Kind.RESULT:
                        self.answer.set_result(data)
                    else:
                        self.answer.set_exception(unpack_error(data, self._renamed))

    async def _watch(self) -> None:
        """Until it has ended; then whoever waits for an answer is told how it did."""
        try:
            code = await self._process.wait()
            await asyncio.wait([self._listening], timeout=TERM_GRACE)  # what it said last is still read
        finally:
            self._listening.cancel()
            self._writer.close()
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ProcessDied(_how(self.pid, code)))

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _retrieved(answer: asyncio.Future[bytes]) -> None:
    """An answer that nobody waits for any longer is none that was forgotten."""
    if not answer.cancelled():
        answer.exception()


@asynccontextmanager
async def in_time(pid: int, what: str) -> AsyncIterator[None]:
    """Within the block, the process has BEGIN seconds to do something. Raises ProcessDied."""
    limit = asyncio.timeout(BEGIN)
    try:
        async with limit:
            yield
    except TimeoutError as late:
        if not limit.expired():
            raise
        raise ProcessDied(
            f"the process of the task (pid {pid}) took longer than {BEGIN:g} s to {what}"
        ) from late


def _how(pid: int, code: int | None) -> str:
    start = f"the process of the task (pid {pid})"
    if code is None:
        return f"{start} closed its connection to the worker."
    if code >= 0:
        return f"{start} ended with exit code {code} before the task did, as by os._exit()."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = {
        "SIGKILL": " If nobody sent it, the system did, for want of memory.",
        "SIGSEGV": " That is a fault in an extension written in C, or of memory.",
    }.get(name, "")
    return f"{start} was ended by {name} before the task was over.{why}"
