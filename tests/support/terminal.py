"""A program in a terminal, typed to and read as a person would: a shell, mostly."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Terminal", "in_terminal"]

_ESCAPES = re.compile(r"\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()].|\x1b[=>78]")

_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A session takes its terminal, as a login does; then the program."""


class Terminal:
    """`text` is what was written to it, as it came, without escape sequences."""

    def __init__(self, process: subprocess.Popen[bytes], controller: int) -> None:
        self.process = process
        self.raw = b""
        self._controller = controller

    @property
    def text(self) -> str:
        return _ESCAPES.sub("", self.raw.decode(errors="replace"))

    def type(self, keys: str) -> None:
        """Press keys; `\\t` is Tab, `\\x01` Ctrl-A."""
        os.write(self._controller, keys.encode())

    def read_until(self, pattern: str, *, timeout: float = 60.0) -> re.Match[str]:
        """Read until it is there, in what was written since the last that was found."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.text)):
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} is not in: {self.text!r}"
            if select.select([self._controller], [], [], left)[0]:
                self._read()
        self.raw = b""
        return found

    def _read(self) -> None:
        try:
            self.raw += (got := os.read(self._controller, 65536))
        except OSError:  # it has ended
            got = b""
        assert got, f"it ended: {self.text!r}"


@contextmanager
def in_terminal(
    line: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 200, rows: int = 50
) -> Iterator[Terminal]:
    """A program in a terminal of this size; killed at the end, with all that it has started."""
    controller, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *line],
        cwd=cwd,
        env=dict(env),
        stdin=end,
        stdout=end,
        stderr=end,
        close_fds=True,
        start_new_session=True,
    )
    os.close(end)
    try:
        yield Terminal(process, controller)
    finally:
        with suppress(ProcessLookupError):  # it has ended, and was waited for
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(controller)
