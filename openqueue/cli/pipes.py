"""What happens when nobody reads our output any more, as behind `| head`.

Other tools are ended by SIGPIPE then, without a word. Python turns that into an exception, in whichever line
happens to print. Here it unwinds the command, so that it puts away what it has begun, and then ends the
process as the signal would have.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

__all__ = ["end_if_nobody_reads", "ending_with_the_reader"]


class _ReaderGone(SystemExit):
    """Nobody reads standard output; passes through what catches errors."""


class _Output:
    """Standard output, which says once that its reader has gone, and is silent from then on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        if not self._gone:
            self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        if not self._gone:
            self._try(self._stream.flush)

    def _try(self, act: Any) -> None:
        try:
            act()
        except BrokenPipeError:
            self._gone = True
            raise _ReaderGone from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def ending_with_the_reader() -> Iterator[None]:
    """Within the block, a reader of standard output that goes away ends the process, by SIGPIPE."""
    before = sys.stdout
    sys.stdout = cast("TextIO", output := _Output(before))
    try:
        try:
            yield
        finally:
            output.flush()
    except _ReaderGone:
        _end()
    finally:
        sys.stdout = before


def end_if_nobody_reads() -> None:
    """End as a write would, for who may have nothing to write for long."""
    output = sys.stdout
    if isinstance(output, _Output) and hasattr(select, "poll"):
        watched = select.poll()
        try:
            watched.register(output.fileno(), 0)
        except OSError:  # it is no file
            return
        if any(happened & select.POLLERR for _, happened in watched.poll(0)):
            raise _ReaderGone


def _end() -> None:
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    os._exit(1)  # where there is no such signal; the usual way out would try to write once more
