"""The standard library's logging within tasks: its records go to the log of the run as well.

A handler on the root logger, there while a worker of this process works, gives each record to the place of
the attempt that it was logged in; outside of attempts it does nothing. Nothing else of the program's logging
is changed: what level a logger lets through, and where it writes, stays as it was configured.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, get_args

from openqueue.tasks.places import place
from openqueue.tasks.runlog import line

__all__ = ["CAPTURES", "Capture", "capture_for_good", "capturing", "level_number", "told"]

Capture = Literal["off", "debug", "info", "warning", "error"]
"""The least level whose records are kept with the run; 'off': none."""

CAPTURES: Final[tuple[str, ...]] = get_args(Capture)

_NUMBERS: Final[Mapping[str, int]] = {
    "off": 1_000_000,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES: Final = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
_NOT_THE_TASKS: Final = ("openqueue", "asyncpg")
"""Those who log below these names speak of the queue, in whichever task they do so."""

_OF_EVERY_RECORD: Final = frozenset(
    (*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message")
)
_OF_STRUCTLOG: Final = frozenset(("event", "level", "logger", "timestamp"))


def level_number(capture: str) -> int:
    """The number that a record's level must reach."""
    return _NUMBERS[capture]


def told(record: logging.LogRecord) -> tuple[str, str, dict[str, Any]]:
    """Level, message and fields of a record, as they are kept in a run's log."""
    level = next((name for number, name in _NAMES if record.levelno >= number), "debug")
    message: Any = record.msg
    fields: dict[str, Any] = {"logger": record.name}
    if isinstance(message, Mapping) and "event" in message:  # structlog, rendered by the standard library
        fields |= {key: one for key, one in message.items() if key not in _OF_STRUCTLOG}
        message = message["event"]
    for key, one in vars(record).items():
        if key not in _OF_EVERY_RECORD and not key.startswith("_"):
            fields[key] = one
    if record.stack_info:
        fields["stack"] = record.stack_info
    error = _error(record.exc_info)
    if error is not None:
        fields["exc_info"] = error
    return level, *line(message, record.args, fields)


def _error(exc_info: Any) -> BaseException | None:
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return error if isinstance(error, BaseException) else None


class Captured(logging.Handler):
    """Gives a record to the place it was logged in. Takes no lock: many threads may tell at once."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Give it on, and see to it that it is seen where it would be without this handler."""
        here = place.get()
        if here is not None and record.name.partition(".")[0] not in _NOT_THE_TASKS:
            try:
                here.hear(record)
            except RecursionError:
                raise
            except Exception:  # noqa: BLE001  as every handler does: a log line never fails the task
                self.handleError(record)
        if logging.lastResort and record.levelno >= logging.lastResort.level and self._is_alone(record):
            logging.lastResort.handle(record)
        return True

    def _is_alone(self, record: logging.LogRecord) -> bool:
        """Whether nobody else is handed the record: then the standard library prints it itself."""
        if len(logging.root.handlers) > 1:
            return False
        found = logging.root.manager.loggerDict.get(record.name)
        logger = found if isinstance(found, logging.Logger) else None
        while logger is not None and logger is not logging.root:
            if logger.handlers or not logger.propagate:
                return False
            logger = logger.parent
        return True


_handler: Final = Captured()
_lock: Final = threading.Lock()
_workers = 0


@contextmanager
def capturing(*, wanted: bool = True) -> Iterator[None]:
    """Within the block, records are given to the places they are logged in; several workers share it."""
    if not wanted:
        yield
        return
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def capture_for_good() -> None:
    """In a process of tasks: whatever its modules did to the configuration, be on the root logger."""
    if _handler not in logging.root.handlers:
        logging.root.addHandler(_handler)


def _count(more: int) -> None:
    global _workers  # noqa: PLW0603  a process has one logging
    with _lock:
        _workers += more
        if _workers:
            capture_for_good()
        else:
            logging.root.removeHandler(_handler)
