"""How log lines look: for people on a terminal, as one JSON object a line for machines.

Formats the records of the standard library's `logging`, ours as well as those of the application and of
its libraries, and those of an application that uses structlog. Never shows local variables, whatever
failed, and masks what looks like a secret. Only the command line calls it: a program that embeds a worker
has a logging of its own.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import Processor

from openqueue.redaction import masked, printable

__all__ = ["Line", "configure_logging", "is_plain"]

Format = Literal["auto", "console", "json"]
Fields = MutableMapping[str, Any]

_NOISY = ("asyncio", "watchfiles")


class Line:
    """A log line: what happened, and fields. As text it is both, for programs with a logging of their own."""

    __slots__ = ("fields", "text")

    def __init__(self, text: str, fields: dict[str, Any]) -> None:
        self.text = text
        self.fields = fields

    def __str__(self) -> str:
        return " ".join((self.text, *(f"{key}={value}" for key, value in masked(self.fields).items())))


def configure_logging(
    look: Format = "auto", level: str = "info", stream: TextIO | None = None, process: str | None = None
) -> logging.Handler:
    """Send everything that is logged in this process to `stream` (standard error); returns what does it.

    `process` is in every line: the name of this one, where several write to one place.
    """
    stream = stream or sys.stderr
    as_json = look == "json" or (look == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    named = [] if process is None else [_naming(process)]
    handler.setFormatter(_formatter([*named, *(_json() if as_json else _console(stream))], as_json=as_json))
    root = logging.getLogger()
    for before in root.handlers[:]:
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(capture=True)
    _configure_structlog(root.level)
    return handler


def is_plain(stream: TextIO) -> bool:
    """Whether colours must not be used: not a terminal, a dumb one, or NO_COLOR is set."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not stream.isatty()


def _configure_structlog(level: int) -> None:
    """Applications that log with structlog in their tasks come out the same way."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _formatter(last: list[Processor], *, as_json: bool) -> ProcessorFormatter:
    stamp = TimeStamper(fmt="iso", utc=True) if as_json else TimeStamper(fmt="%H:%M:%S.%f", utc=False)
    return ProcessorFormatter(
        foreign_pre_chain=[add_log_level, add_logger_name, ExtraAdder(), _unpack],
        processors=[stamp, ProcessorFormatter.remove_processors_meta, *last],
    )


def _json() -> list[Processor]:
    return [ExceptionRenderer(_traceback_text), _mask, JSONRenderer(default=str)]


def _console(stream: TextIO) -> list[Processor]:
    return [
        ExceptionRenderer(_traceback_text),
        _mask,
        _printable,
        ConsoleRenderer(
            colors=not is_plain(stream), exception_formatter=plain_traceback, pad_event_to=0, sort_keys=False
        ),
    ]


def _unpack(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Take one of our lines apart; anybody else's stays as it is."""
    message = fields["_record"].msg
    if isinstance(message, Line):
        fields.update(message.fields, event=message.text)
    return fields


def _naming(process: str) -> Processor:
    def name(_logger: Any, _method: str, fields: Fields) -> Fields:
        fields.setdefault("process", process)
        return fields

    return name


def _mask(_logger: Any, _method: str, fields: Fields) -> Fields:
    found: Fields = masked(fields)
    return found


def _printable(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Control characters cannot reach the terminal: they are shown as escapes."""
    fields["timestamp"] = fields["timestamp"][:12]  # to the millisecond
    if fields.get("logger") == "openqueue":
        del fields["logger"]
    for key, value in fields.items():
        if isinstance(value, str):
            fields[key] = printable(value, keep="\t\n")
    return fields


def _traceback_text(exc_info: Any) -> str:
    """A traceback as Python prints it: one text in every format, and no local variables."""
    return logging.Formatter().formatException(exc_info)
