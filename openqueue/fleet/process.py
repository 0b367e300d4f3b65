"""One worker of a fleet, seen from the parent: started, told, listened to, and ended for certain."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self

from openqueue.fleet.words import Failure, Word
from openqueue.telemetry.health import Facts
from openqueue.worker.processes.frames import packed, read

__all__ = ["Counted", "WorkerProcess"]

Counted = Callable[..., object]

LAST_WORD: Final = 1.0
"""Seconds for what a process has said before its end to arrive, should others hold its end of the socket."""

_CODE: Final = "import sys; sys.path[:] = {path!r}; from {module} import {function}; {function}({descriptor})"


class WorkerProcess:
    """A process with a worker in it. `ran`: it has taken in work; `failure`: why it ends, if it said so."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        counted: Counted,
    ) -> None:
        self.ran = False
        self.failure: Failure | None = None
        self._process = process
        self._reader, self._writer = streams
        self._counted = counted
        self._facts = Facts("starting", database=None)
        self._heard: float | None = None
        self._listening = asyncio.create_task(self._listen(), name=f"openqueue:worker process {self.pid}")

    @classmethod
    async def start(
        cls,
        name: str,
        entry: tuple[str, str],
        hello: Mapping[str, Any],
        counted: Counted = lambda _name, _pid, _said: None,
    ) -> Self:
        """Start one, in a new Python: `entry` is a module and its function, which gets the descriptor.

        It is the first of a session of its own: a terminal's Ctrl-C reaches the parent alone, which passes it
        on. `counted` is called with its name, its number and what it has counted so far. Raises OSError when
        the system has no room for another process.
        """
        module, function = entry
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                code = _CODE.format(
                    path=sys.path, module=module, function=function, descriptor=theirs.fileno()
                )
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]  # as multiprocessing
                    *(
                        "-c",
                        code,
                        "openqueue",
                        "worker",
                        name,
                    ),  # the last three are for those who list processes
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            ours.setblocking(False)
            made = cls(process, await asyncio.open_connection(sock=ours), partial(counted, name))
        except BaseException:
            ours.close()
            raise
        made._send(packed(Word.HELLO, pickle.dumps(dict(hello))))
        return made

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def facts(self) -> Facts:
        """What it last said of itself; silence since then is taken for a loop that stands still."""
        if self._heard is None:
            return self._facts
        return replace(self._facts, loop_idle=self._facts.loop_idle + time.monotonic() - self._heard)

    def tell(self, word: Word) -> None:
        """Give it an order; one that has ended hears nothing."""
        self._send(packed(word))

    async def ended(self) -> int:
        """Its exit code, once it has ended; negative for a signal."""
        code = await self._process.wait()
        await asyncio.wait([self._listening], timeout=LAST_WORD)
        self._listening.cancel()
        self._writer.close()
        return code

    def kill(self) -> None:
        """End it now, with the programs that its tasks have started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _send(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)

    async def _listen(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                word, data = await read(self._reader)
                said = json.loads(data)
                if word == Word.FAILED:
                    self.failure = Failure(said["code"], tuple(said["said"]), said["heals"])
                elif word == Word.TALLY:
                    self._counted(self.pid, said)
                else:
                    self._facts, self._heard = Facts(**said), time.monotonic()
                    self.ran = self.ran or self._facts.state == "running"
