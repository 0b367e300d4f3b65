"""The log of a run: what a task says of itself, kept with the run and bounded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import count
from traceback import format_exception
from typing import Any

from openqueue.codec import encode
from openqueue.errors import NotSerializable
from openqueue.redaction import masked, masked_text

__all__ = ["LONGEST_LINE", "MOST_LINES", "EmitLog", "RunLog"]

MOST_LINES = 1_000
"""Lines an attempt may log; one more says that the rest was dropped."""

LONGEST_LINE = 8 * 1024
"""Bytes of a line, message and fields together; what is longer is cut."""

EmitLog = Callable[[str, str, dict[str, Any]], None]
"""Called with level, message and fields; the fields can always be stored."""


class RunLog:
    """A logger in structlog's manner: a message, and fields by keyword. Safe to use from threads."""

    __slots__ = ("_emit", "_fields", "_numbers")

    def __init__(
        self, emit: EmitLog, fields: Mapping[str, Any] | None = None, numbers: count[int] | None = None
    ) -> None:
        self._emit = emit
        self._fields = dict(fields or {})
        self._numbers = count(1) if numbers is None else numbers

    def bind(self, **fields: Any) -> RunLog:
        """A logger that adds these fields to each of its lines; they share the bound on lines."""
        return RunLog(self._emit, {**self._fields, **fields}, self._numbers)

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
        number = next(self._numbers)
        if number > MOST_LINES + 1:
            return
        if number > MOST_LINES:
            self._emit("warning", f"the log is full: lines after the {MOST_LINES:,}th are dropped", {})
            return
        said = masked_text(_text(message, args))
        self._emit(level, *_fitting(said, masked(_traced({**self._fields, **fields}))))


def _text(message: Any, args: tuple[Any, ...]) -> str:
    text = str(message)
    if args:
        try:
            text = text % args
        except (TypeError, ValueError, KeyError):  # a log line never fails the task
            text = f"{text} {args!r}"
    return _storable(text)


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
    """A field's value in a form that can be stored, and its size in bytes."""
    try:
        return value, len(encode(value).encode())
    except NotSerializable:
        text = _storable(_shown(value))
        return text, len(encode(text).encode())


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  a log line never fails the task
        return f"<{type(value).__qualname__}>"


def _cut(text: str, size: int) -> str:
    data = text.encode()
    return text if len(data) <= size else data[:size].decode(errors="ignore") + "…"
