"""The options of a task, and those of one enqueue. Checked when given, immutable afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict
from uuid import UUID

from openqueue.backoff import Backoff, Custom, Exponential, Fixed
from openqueue.durations import Duration, parse_duration
from openqueue.errors import InvalidOption
from openqueue.tasks.checks import (
    check_choice,
    check_exceptions,
    check_known,
    check_lasting,
    check_moment,
    check_object,
    check_text,
    check_texts,
    check_uuid,
    check_whole,
)
from openqueue.tasks.middleware import Middleware, check_middleware
from openqueue.tasks.scheduled import Scheduled, scheduled_words

__all__ = ["NO_OPTIONS", "EnqueueOptions", "EnqueueWords", "TaskOptions", "TaskWords"]

BackoffWords = Backoff | Duration | Callable[[int, BaseException | None], Duration]
ExceptionWords = type[BaseException] | Iterable[type[BaseException]]


class TaskWords(TypedDict, total=False):
    """The keywords of `@task`, as they may be written."""

    name: str
    queue: str
    priority: int
    max_attempts: int
    backoff: BackoffWords
    timeout: Duration | None
    deadline: Duration | None
    tags: Iterable[str]
    meta: Mapping[str, Any]
    retry_on: ExceptionWords
    give_up_on: ExceptionWords
    aliases: Iterable[str]
    description: str
    executor: Literal["thread", "process"]
    middleware: Iterable[Middleware]
    cron: str
    every: Duration
    timezone: str
    overlap: Literal["allow", "skip", "queue", "cancel_previous"]
    catch_up: int
    jitter: Duration
    input: Mapping[str, Any]


class EnqueueWords(TypedDict, total=False):
    """The keywords of `task.options(...)`, as they may be written; None is as if left out."""

    delay: Duration | None
    run_at: datetime | str | None
    priority: int | None
    queue: str | None
    key: str | None
    key_mode: Literal["replace", "skip"] | None
    meta: Mapping[str, Any] | None
    tags: Iterable[str] | None
    deadline: Duration | datetime | None
    max_attempts: int | None
    id: UUID | str | None
    connection: object


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What a task says of its runs, unless an enqueue says otherwise.

    name          None: by the file and the function (`naming`)
    queue         where its runs wait
    priority      -32768 … 32767, lower first
    max_attempts  how often it is tried in all, 1 … 32767
    backoff       the wait after a failed attempt
    timeout       how long an attempt may take; None: as long as it likes
    deadline      how long after the enqueue it may still start; None: for ever
    retry_on      only these exceptions are retried; empty: all
    give_up_on    these are never retried, even when `retry_on` has them
    aliases       names it was once enqueued under
    executor      where a `def` task runs: in a 'thread' (None), or in a 'process' of its own
    middleware    what is done around its attempts, inside that of the worker
    scheduled     when it runs by itself: cron, every, timezone, overlap, catch_up, jitter, input
    """

    name: str | None = None
    queue: str = "default"
    priority: int = 0
    max_attempts: int = 25
    backoff: Backoff = field(default_factory=Exponential)
    timeout: timedelta | None = None
    deadline: timedelta | None = None
    tags: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    retry_on: tuple[type[BaseException], ...] = ()
    give_up_on: tuple[type[BaseException], ...] = ()
    aliases: tuple[str, ...] = ()
    description: str = ""
    executor: Literal["thread", "process"] | None = None
    middleware: tuple[Middleware, ...] = ()
    scheduled: Scheduled | None = None

    @classmethod
    def of(cls, **given: Any) -> TaskOptions:
        """Check what was written in `@task(...)`. Raises InvalidOption, naming the option."""
        schedule = scheduled_words(given)
        rest = {option: value for option, value in given.items() if option not in schedule}
        check_known(rest, _TASK_CHECKS, _LATER_FOR_TASKS, "@task")
        return cls(**_checked(rest, _TASK_CHECKS), scheduled=Scheduled.of(**schedule))

    def describe(self) -> dict[str, Any]:
        """The options as JSON, for the catalogue; durations in seconds."""
        return {
            "queue": self.queue,
            "priority": self.priority,
            "max_attempts": self.max_attempts,
            "backoff": self.backoff.describe(),
            "timeout": self.timeout.total_seconds() if self.timeout else None,
            "deadline": self.deadline.total_seconds() if self.deadline else None,
            "tags": list(self.tags),
            "meta": dict(self.meta),
            "retry_on": [_class_name(one) for one in self.retry_on],
            "give_up_on": [_class_name(one) for one in self.give_up_on],
            "aliases": list(self.aliases),
            "executor": self.executor,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueOptions:
    """What one enqueue says; None: what the task says. Built with `of`, which checks.

    delay, run_at  not before then (only one of them); None: now
    key            one unfinished run per namespace, task and key
    key_mode       'replace' (the default) overwrites the waiting run, 'skip' keeps it
    deadline       a moment, or a duration from now: not started by then, it expires
    id             the run's id, so that the enqueue can be repeated safely
    """

    delay: timedelta | None = None
    run_at: datetime | None = None
    priority: int | None = None
    queue: str | None = None
    key: str | None = None
    key_mode: Literal["replace", "skip"] | None = None
    meta: Mapping[str, Any] | None = None
    tags: tuple[str, ...] | None = None
    deadline: timedelta | datetime | None = None
    max_attempts: int | None = None
    id: UUID | None = None

    @classmethod
    def of(cls, **given: Any) -> EnqueueOptions:
        """Check what was written in `options(...)`. Raises InvalidOption, naming the option."""
        if not given:
            return NO_OPTIONS
        check_known(given, _ENQUEUE_CHECKS, _LATER_FOR_ENQUEUES, "an enqueue")
        options = cls(**_checked(given, _ENQUEUE_CHECKS))
        _check_together(options)
        return options


def _check_together(options: EnqueueOptions) -> None:
    if options.delay is not None and options.run_at is not None:
        raise InvalidOption("delay: cannot be combined with run_at. Give one of them.", option="delay")
    if options.key_mode is not None and options.key is None:
        raise InvalidOption("key_mode: means nothing without a key. Give key=... too.", option="key_mode")


def _checked(given: Mapping[str, Any], checks: Mapping[str, Callable[[Any, str], Any]]) -> dict[str, Any]:
    return {option: checks[option](value, option) for option, value in given.items() if value is not None}


def _check_backoff(value: Any, option: str) -> Backoff:
    if isinstance(value, Exponential | Fixed | Custom):
        return value
    if callable(value) and not isinstance(value, type):
        return Custom(value)
    if isinstance(value, str | int | float | timedelta):
        return Fixed(parse_duration(value, field=option))
    raise InvalidOption(
        f"{option}: {value!r} is no backoff: give Exponential(...), Fixed(...), a duration,"
        " or a function of (attempt, error) that returns one.",
        option=option,
    )


def _check_deadline(value: Any, option: str) -> timedelta | datetime:
    if isinstance(value, datetime):
        return check_moment(value, option)
    return check_lasting(value, option)


def _check_description(value: Any, option: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidOption(f"{option}: must be a text without NUL.", option=option)
    return value


def _class_name(one: type[BaseException]) -> str:
    return one.__qualname__ if one.__module__ == "builtins" else f"{one.__module__}.{one.__qualname__}"


_check_smallint = check_whole(-32768, 32767)
_check_attempts = check_whole(1, 32767)

_TASK_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "name": check_text,
    "queue": check_text,
    "priority": _check_smallint,
    "max_attempts": _check_attempts,
    "backoff": _check_backoff,
    "timeout": check_lasting,
    "deadline": check_lasting,
    "tags": check_texts,
    "meta": check_object,
    "retry_on": check_exceptions,
    "give_up_on": check_exceptions,
    "aliases": check_texts,
    "description": _check_description,
    "executor": check_choice("thread", "process"),
    "middleware": check_middleware,
}

_ENQUEUE_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "delay": lambda value, option: parse_duration(value, field=option),
    "run_at": check_moment,
    "priority": _check_smallint,
    "queue": check_text,
    "key": check_text,
    "key_mode": check_choice("replace", "skip"),
    "meta": check_object,
    "tags": check_texts,
    "deadline": _check_deadline,
    "max_attempts": _check_attempts,
    "id": check_uuid,
}

_LATER_FOR_TASKS = {
    **dict.fromkeys(("concurrency", "concurrency_key", "rate"), "limits"),
    "batch": "batches",
}

_LATER_FOR_ENQUEUES = {
    **dict.fromkeys(("idempotency", "idempotency_key", "unique"), "idempotent enqueues"),
    **dict.fromkeys(("group", "group_key"), "fairness between groups"),
    "concurrency_key": "limits",
}

NO_OPTIONS = EnqueueOptions()
"""Everything as the task says."""
