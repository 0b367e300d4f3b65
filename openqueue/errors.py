"""Every error openqueue raises on purpose, two levels deep.

A message says what happened, to what, and what to do about it. Catch `OpenQueueError` for all of
them. Leaving a task (`GiveUp`, `Snooze`, `Cancelled`) is control flow, not an error, and lives in
`openqueue.tasks.control`. All of them survive pickling: details are attributes with defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import Any
from uuid import UUID

__all__ = [
    "ConfigError",
    "ConnectionFailed",
    "InvalidArguments",
    "InvalidOption",
    "InvalidTask",
    "LeaseLost",
    "NotSerializable",
    "OpenQueueError",
    "ProcessDied",
    "RunCancelled",
    "RunExpired",
    "RunFailed",
    "RunNotFound",
    "ScheduleNotFound",
    "SchemaError",
    "TooLarge",
    "UnexpectedResult",
    "UnexpectedState",
    "UnknownTask",
    "did_you_mean",
    "shown",
]


class OpenQueueError(Exception):
    """The base of everything openqueue raises on purpose."""


class ConfigError(OpenQueueError):
    """A setting, a settings file or a task module cannot be used; the message names it and the remedy.

    `option` is the argument at fault where a caller gave the setting, and not the environment or a file.
    """

    def __init__(self, message: str, *, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class ConnectionFailed(OpenQueueError):
    """PostgreSQL cannot be reached or refuses us; names host and database, never the password."""


class ProcessDied(OpenQueueError):
    """The process of a task with `executor="process"` ended before the task did; says how. It is retried."""


class SchemaError(OpenQueueError):
    """The schema is missing, too old or changed by hand; the message names the command that helps."""


class InvalidTask(OpenQueueError):
    """A declaration cannot become a task: its signature, its annotations, or a name taken twice."""


class UnknownTask(OpenQueueError):
    """No task of this name (`task`) is known here; the message offers the nearest names."""

    def __init__(self, message: str, *, task: str = "") -> None:
        super().__init__(message)
        self.task = task


class InvalidArguments(OpenQueueError, ValueError):
    """The arguments do not fit the task's signature.

    `field` is the place of the first fault (`items[3].price`); `stored` is true when the fault was
    found in a run's stored input, that is by the worker and not by the caller.
    """

    def __init__(self, message: str, *, field: str = "", stored: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.stored = stored


class InvalidOption(OpenQueueError, ValueError):
    """An option (`option`) of a task, an enqueue or a command has a value it cannot have."""

    def __init__(self, message: str, *, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class NotSerializable(OpenQueueError, ValueError):
    """A value cannot be stored as JSON; `path` is its place, such as `input.items[3].price`."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class TooLarge(OpenQueueError, ValueError):
    """A value is larger than may be stored: `size` and `limit` in bytes, `path` its largest part."""

    def __init__(self, message: str, *, path: str = "", size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.size = size
        self.limit = limit


class RunNotFound(OpenQueueError):
    """There is no run of this id (`run_id`), or it was pruned."""

    def __init__(self, message: str, *, run_id: UUID | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class ScheduleNotFound(OpenQueueError):
    """There is no schedule of this key (`key`); the message offers the nearest ones."""

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class RunFailed(OpenQueueError):
    """The run whose result was awaited (`run_id`) failed for good; `error` is what was stored of it."""

    def __init__(
        self, message: str, *, run_id: UUID | None = None, error: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.error: Mapping[str, Any] = error or {}


class RunCancelled(OpenQueueError):
    """The run whose result was awaited (`run_id`) was cancelled."""

    def __init__(self, message: str, *, run_id: UUID | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunExpired(OpenQueueError):
    """The run whose result was awaited (`run_id`) did not start before its deadline."""

    def __init__(self, message: str, *, run_id: UUID | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


class UnexpectedState(OpenQueueError):
    """The run (`run_id`) is not in a state that allows this; `status` is what it is."""

    def __init__(self, message: str, *, run_id: UUID | None = None, status: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id
        self.status = status


class UnexpectedResult(OpenQueueError):
    """A stored result does not fit the task's return annotation; the raw value is in the run's `output`."""


class LeaseLost(OpenQueueError):
    """This attempt no longer holds the run (`run_id`): another worker may have it, so nothing is written."""

    def __init__(self, message: str, *, run_id: UUID | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Say which known words are near: ``" Did you mean 'queue'?"``, or nothing when none is."""
    near = get_close_matches(word, list(known), n=3, cutoff=0.6)
    if not near:
        return ""
    best = SequenceMatcher(None, near[0], word).ratio()
    near = [name for name in near if SequenceMatcher(None, name, word).ratio() > best - 0.2]
    return f" Did you mean {' or '.join(repr(name) for name in near)}?"


def shown(value: object, most: int = 60) -> str:
    """A value as a message quotes it: its repr, cut; what has none (nested too deep, say) by its class."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  a message about a value does not fail by it
        return f"<{type(value).__qualname__}>"
    return text if len(text) <= most else text[: most - 3] + "..."
