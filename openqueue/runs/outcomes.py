"""What the end of an attempt means: one pure function for every way a task can leave.

`decide` turns the exception an attempt ended with into an `Outcome`, the words that `finish_jobs`
understands; a return value needs no decision. Whether the database agrees (a cancel that came meanwhile, a
deadline that a retry would miss, a lease that is gone) is decided there, by one function for every language.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from random import random as uniform
from typing import Any, Final, Literal

from openqueue.backoff import Random
from openqueue.codec import encode
from openqueue.redaction import without_passwords
from openqueue.tasks.control import Cancelled, Snooze
from openqueue.tasks.options import TaskOptions
from openqueue.tasks.retry import retry_delay
from openqueue.tasks.tracebacks import from_the_task

__all__ = ["LARGEST_ERROR", "RELEASED", "Outcome", "TimedOut", "completed", "decide", "describe_error"]

LARGEST_ERROR: Final = 64 * 1024
"""Bytes of a stored error; of a long traceback the end is kept."""

Kind = Literal["completed", "failed", "retry", "snoozed", "cancelled", "released"]
Asked = Literal["cancel", "stop"]


class TimedOut(TimeoutError):
    """The attempt took longer than its task's timeout."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: `output` and `error` as JSON text, `delay` in seconds until it is due again."""

    kind: Kind
    output: str | None = None
    error: str | None = None
    delay: float | None = None


def completed(output: str) -> Outcome:
    """The task returned; `output` is its result as JSON."""
    return RETURNED_NOTHING if output == "null" else Outcome("completed", output=output)


RETURNED_NOTHING: Final = Outcome("completed", output="null")
"""What most tasks return: one object for all of them."""

RELEASED: Final = Outcome("released")
"""Given back at shutdown: not counted."""


def decide(
    options: TaskOptions,
    attempt: int,
    max_attempts: int,
    error: BaseException,
    asked: Asked | None = None,
    random: Random = uniform,
) -> Outcome:
    """What becomes of a run whose attempt number `attempt` ended with `error`.

    `asked` says what the worker had asked of the attempt: to 'cancel', or to 'stop' because the
    process ends. A cancellation nobody asked for is a failure as any other; `Cancelled` raised because the
    process ends gives the run back.
    """
    if isinstance(error, Snooze):
        return Outcome("snoozed", delay=error.delay.total_seconds())
    if asked == "stop" and isinstance(error, asyncio.CancelledError | Cancelled):
        return RELEASED
    if isinstance(error, Cancelled) or (asked == "cancel" and isinstance(error, asyncio.CancelledError)):
        return Outcome("cancelled", error=describe_error(error, retryable=False))
    delay = retry_delay(options, attempt, error, max_attempts=max_attempts, random=random)
    if delay is None:
        return Outcome("failed", error=describe_error(error, retryable=False))
    return Outcome("retry", error=describe_error(error, retryable=True), delay=delay.total_seconds())


def describe_error(error: BaseException, *, retryable: bool) -> str:
    """The error as it is stored: type, message, traceback without local variables, causes. At most 64 KiB.

    The traceback begins where the task does.
    """
    room = LARGEST_ERROR // 4  # each of the four parts; a character may take several bytes once encoded
    lines = "".join(traceback.format_exception(type(error), error, from_the_task(error)))
    described = {
        "type": _name(error),
        "message": _cut(_message(error), room),
        "retryable": retryable,
        "causes": [{"type": _name(one), "message": _cut(_message(one), 1024)} for one in _causes(error)],
        "traceback": _cut(lines, room, end=True),
    }
    text = encode(described)
    if len(text.encode()) > LARGEST_ERROR:
        described["traceback"] = _cut(lines, room // 4, end=True)
        described["message"] = _cut(_message(error), room // 4)
        text = encode(described)
    return text


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The chain behind an error as tracebacks show it, at most eight links."""
    seen: list[BaseException] = [error]
    while len(seen) <= 8:
        last = seen[-1]
        behind = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if behind is None or any(behind is one for one in seen):
            return
        seen.append(behind)
        yield behind


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  an error that cannot be printed is still an error
        return "(its message cannot be shown)"


def _cut(text: Any, size: int, *, end: bool = False) -> str:
    clean = without_passwords(str(text)).replace("\0", "\ufffd").encode(errors="replace").decode()
    if len(clean) <= size:
        return clean
    return "…" + clean[-size:] if end else clean[:size] + "…"
