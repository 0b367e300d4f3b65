"""Errors that cross from a task's process to its worker: the exception itself where that can be.

An exception is pickled. Where it cannot be read back (its `__init__` wants what it did not keep) one of the
same class is made from its message, and where the worker does not know the class, a stand-in is. What is
stored of it is in each case what the process said: type, message, traceback and causes.
"""

from __future__ import annotations

import io
import pickle
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from openqueue.codec import decode, encode
from openqueue.runs.outcomes import Outcome, describe_error
from openqueue.tasks.control import GiveUp
from openqueue.tasks.options import TaskOptions
from openqueue.tasks.retry import may_retry

__all__ = ["RemoteError", "pack_error", "unpack_error", "with_description"]

LARGEST_PICKLE: Final = 1024 * 1024

_KEPT: Final = "_openqueue_description"


class RemoteError(Exception):
    """Stands for an exception of a class that only the task's process knows."""


class RemoteGiveUp(RemoteError, GiveUp):
    """The same for one that the task's options say is not to be retried."""


def pack_error(error: BaseException, options: TaskOptions) -> str:
    """In the process: all that is known of the error, as JSON."""
    kind = type(error)
    return encode(
        {
            "module": kind.__module__,
            "class": kind.__qualname__,
            "description": describe_error(error, retryable=True),
            "retry": may_retry(options, error),
            "pickle": _pickled(error),
        }
    )


def unpack_error(text: bytes, renamed: Mapping[str, str]) -> BaseException:
    """In the worker: the exception to be raised. `renamed`: modules that have another name here."""
    told: dict[str, Any] = decode(text)
    description: dict[str, Any] = decode(told["description"])
    error = _unpickled(told, renamed) or _made(told, renamed, description["message"])
    if error is None:
        stand_in = RemoteError if told["retry"] else RemoteGiveUp
        error = stand_in(f"{description['type']}: {description['message']}")
    with suppress(Exception):
        error.add_note(f"In the process of the task:\n{description['traceback']}")
        setattr(error, _KEPT, told["description"])
    return error


def with_description(outcome: Outcome, error: BaseException) -> Outcome:
    """The outcome with what the process said of the error, if it comes from one."""
    kept: str | None = getattr(error, _KEPT, None)
    if kept is None or outcome.error is None:
        return outcome
    return replace(outcome, error=encode({**decode(kept), "retryable": outcome.kind == "retry"}))


def _pickled(error: BaseException) -> str | None:
    with suppress(Exception):
        data = pickle.dumps(error)
        if len(data) <= LARGEST_PICKLE:
            return b64encode(data).decode()
    return None


def _unpickled(told: Mapping[str, Any], renamed: Mapping[str, str]) -> BaseException | None:
    if told["pickle"] is None:
        return None
    with suppress(Exception):
        error = _Unpickler(b64decode(told["pickle"]), renamed).load()
        if isinstance(error, BaseException) and type(error).__qualname__ == told["class"]:
            return error
    return None


def _made(told: Mapping[str, Any], renamed: Mapping[str, str], message: str) -> BaseException | None:
    with suppress(Exception):
        found: Any = sys.modules[renamed.get(told["module"], told["module"])]
        for name in told["class"].split("."):
            found = getattr(found, name)
        if isinstance(found, type) and issubclass(found, BaseException):
            error: BaseException = found.__new__(found)
            error.args = (message,)
            return error
    return None


class _Unpickler(pickle.Unpickler):
    """Knows what is imported here already, and imports nothing."""

    def __init__(self, data: bytes, renamed: Mapping[str, str]) -> None:
        super().__init__(io.BytesIO(data))
        self._renamed = renamed

    def find_class(self, module: str, name: str, /) -> Any:
        here = self._renamed.get(module, module)
        if here not in sys.modules:
            raise pickle.UnpicklingError(f"{here} is not imported here")
        return super().find_class(here, name)
