"""The log of a run: what a task says of itself, kept with the run and bounded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import count
from traceback import format_exception
from types import NoneType
from typing import Any

from openqueue.codec import decode, encode
from openqueue.errors import NotSerializable
from openqueue.redaction import masked, masked_text

__all__ = ["FULL", "LONGEST_LINE", "MOST_LINES", "EmitLog", "Lines", "RunLog", "line"]

MOST_LINES = 1_000
"""Lines an attempt may log; one more says how many were dropped."""

FULL = "full"
"""Stands for the level where that one is said anew: it replaces what was said of it before."""


LONGEST_LINE = 8 * 1024
"""Bytes of a line, message and fields together; what is longer is cut."""

_PLAIN = (str, int, float, NoneType, Mapping, list, tuple)
_LONGEST_READ = 8 * LONGEST_LINE
_TOLD = frozenset(10**power for power in range(18))

EmitLog = Callable[[str, str, dict[str, Any]], None]
"""Called with level, message and fields; the fields can always be stored."""


class Lines:
    """Those of one attempt, however they were said: the first thousand are kept, the others counted.

    How many were dropped is said with the first one, at every power of ten, and at the end of the attempt.
    """

    __slots__ = ("_emit", "_numbers")

    def __init__(self, emit: EmitLog) -> None:
        self._emit = emit
        self._numbers = count(1)

    def admit(self) -> bool:
        """Whether one more is kept."""
        number = next(self._numbers)
        if number <= MOST_LINES:
            return True
        if (dropped := number - MOST_LINES) in _TOLD:
            self._tell("warning" if dropped == 1 else FULL, dropped)
        return False

    def close(self) -> None:
        """The attempt is over: say how many were dropped in all, and nothing from then on.

        So these lines no longer lead to the attempt, which has them: as a cycle it would stay in memory.
        """
        dropped = next(self._numbers) - MOST_LINES - 1
        if dropped > 0 and dropped not in _TOLD:
            self._tell(FULL, dropped)
        self._emit = _unheard

    def _tell(self, level: str, dropped: int) -> None:
        self._emit(
            level, f"the log is full: lines after the {MOST_LINES:,}th are dropped", {"dropped": dropped}
        )


def _unheard(_level: str, _message: str, _fields: dict[str, Any]) -> None:
    """The attempt is over."""


class RunLog:
    """A logger in structlog's manner: a message, and fields by keyword. Safe to use from threads.

    `admit` says of each line whether it is kept; None: the first thousand are.
    """

    __slots__ = ("_admit", "_emit", "_fields")

    def __init__(
        self, emit: EmitLog, fields: Mapping[str, Any] | None = None, admit: Callable[[], bool] | None = None
    ) -> None:
        self._emit = emit
        self._fields = dict(fields or {})
        self._admit = Lines(emit).admit if admit is None else admit

    def bind(self, **fields: Any) -> RunLog:
        """A logger that adds these fields to each of its lines; they share the bound on lines."""
        return RunLog(self._emit, {**self._fields, **fields}, self._admit)

    def debug(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at level debug; `args` fill %-places in the message, as everywhere in Python."""
        self._log("debug", message, args, fields)

    def info(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at level info."""
        self._log("info", message, args, fields)

    def warning(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at level warning."""
        self._log("warning", message, args, fields)

    def error(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at level error."""
        self._log("error", message, args, fields)

    def critical(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at level critical."""
        self._log("critical", message, args, fields)

    def exception(self, message: str, *args: Any, **fields: Any) -> None:
        """Log at level error, with the traceback of the exception being handled."""
        self._log("error", message, args, {"exc_info": True, **fields})

    def _log(self, level: str, message: Any, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        if self._admit():
            self._emit(level, *line(message, args, {**self._fields, **fields}))


def line(message: Any, args: Any, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Message and fields as they are kept: masked, cut to a line's length, storable. Never raises."""
    return _fitting(masked_text(_text(message, args)), masked(_traced(fields)))


def _text(message: Any, args: Any) -> str:
    """The message with its %-places filled by a tuple or a mapping, as everywhere in Python."""
    text = message if isinstance(message, str) else _shown(message, str)
    if args:
        try:
            text = text % args
        except Exception:  # noqa: BLE001  a log line never fails the task
            text = f"{text} {_shown(args)}"
    return _storable(text[:_LONGEST_READ])


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _traced(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace `exc_info` (True or an exception) by the traceback's text."""
    given = fields.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exception() if given else None
    if error is not None:
        fields["exception"] = "".join(format_exception(error))[-LONGEST_LINE // 2 :]
    return fields


def _fitting(message: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Cut message and fields to a line's length; what JSON has no words for becomes its repr."""
    if len(message) > LONGEST_LINE // 8:
        message = _cut(message, LONGEST_LINE - 64)
    room = LONGEST_LINE - len(message.encode())
    kept: dict[str, Any] = {}
    for key, given in fields.items():
        value, size = _field(given)
        room -= size + len(encode(_storable(key)).encode()) + 2
        if room < 0:
            kept["truncated"] = True
            break
        kept[_storable(key)] = value
    return message, kept


def _field(value: Any) -> tuple[Any, int]:
    """A field's value in a form that can be stored, and its size in bytes; masked in whatever form it is."""
    try:
        data = encode(value)
        if not isinstance(value, _PLAIN):
            value = masked(decode(data))
            data = encode(value)
    except NotSerializable:
        value = masked_text(_storable(_shown(value)))
        data = encode(value)
    return value, len(data.encode())


def _shown(value: Any, show: Callable[[Any], str] = repr) -> str:
    try:
        return show(value)
    except Exception:  # noqa: BLE001  a log line never fails the task
        return f"<{type(value).__qualname__}>"


def _cut(text: str, size: int) -> str:
    data = text.encode()
    return text if len(data) <= size else data[:size].decode(errors="ignore") + "…"
