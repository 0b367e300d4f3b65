"""What is shown of an error in a user's module: their own lines, and none of the library's.

A mistake in a declaration is found deep in this library, where its user cannot mend anything. What counts is
the line that made it. The whole traceback stays with the error, as its cause.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from traceback import StackSummary, TracebackException
from types import TracebackType

from openqueue.errors import OpenQueueError

__all__ = ["from_the_task", "tell_broken"]

_LIBRARY = str(Path(__file__).resolve().parents[1]) + os.sep
_IMPORTING = (importlib.__file__, "<frozen ")


def tell_broken(what: str, error: BaseException) -> str:
    """Say that `what` cannot be imported: why, and where in the user's own files.

    An error of ours says all in its message, so only the lines are shown; any other keeps its traceback
    and its causes.
    """
    shown = TracebackException.from_exception(error)
    for part in _parts(shown):
        part.stack = StackSummary.from_list([frame for frame in part.stack if not _is_ours(frame.filename)])
    if isinstance(error, OpenQueueError):
        said, trace = str(error), "".join(shown.stack.format())
    else:
        said, trace = f"{type(error).__name__}: {error}", "".join(shown.format())
    return f"{what} cannot be imported: {said}\n{trace.rstrip()}".rstrip()


def from_the_task(error: BaseException) -> TracebackType | None:
    """The error's traceback from the first line that is not the library's; all of it if there is none."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace or error.__traceback__


def _parts(shown: TracebackException) -> Iterator[TracebackException]:
    """The error, and all that it is a consequence of or consists of."""
    yield shown
    for one in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if one is not None:
            yield from _parts(one)


def _is_ours(file: str) -> bool:
    return file.startswith((_LIBRARY, *_IMPORTING))
