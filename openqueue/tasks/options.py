"""The options of a task; those of one enqueue are in `enqueue_options`. Checked when given; immutable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypedDict

from openqueue.backoff import Backoff, Custom, Exponential, Fixed
from openqueue.durations import Duration, parse_duration
from openqueue.errors import InvalidOption, shown
from openqueue.rates import Rate, RateWords, parse_rate
from openqueue.tasks.batch import Batch, check_batch
from openqueue.tasks.captured import CAPTURES, Capture
from openqueue.tasks.checks import (
    check_choice,
    check_exceptions,
    check_known,
    check_lasting,
    check_object,
    check_text,
    check_texts,
    check_whole,
    checked,
)
from openqueue.tasks.enqueue_options import NO_OPTIONS, EnqueueOptions, EnqueueWords
from openqueue.tasks.keys import KeyWords, check_concurrency_key, parameters
from openqueue.tasks.middleware import Middleware, check_middleware
from openqueue.tasks.scheduled import Scheduled, scheduled_words

__all__ = ["NO_OPTIONS", "EnqueueOptions", "EnqueueWords", "TaskOptions", "TaskWords"]

BackoffWords = Backoff | Duration | Callable[[int, BaseException | None], Duration]
ExceptionWords = type[BaseException] | Iterable[type[BaseException]]
OnFailure = Literal["block", "step_aside"]


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
    concurrency_key: KeyWords
    key_concurrency: int
    on_failure: OnFailure
    cron: str
    every: Duration
    timezone: str
    overlap: Literal["allow", "skip", "queue", "cancel_previous"]
    catch_up: int
    jitter: Duration
    input: Mapping[str, Any]
    concurrency: int
    rate: RateWords
    burst: int
    capture_logs: Capture


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
    concurrency_key  runs with the same key share a limit, in all processes; a text, or a function of some of
                  the arguments that returns one (None: no key)
    key_concurrency  how many of one key run at once, 1 … 32767; 1 keeps their order
    batch         its function gets a list of up to so many runs' arguments, gathered for so long
    on_failure    a failed run of a key, until its retry: 'block's those behind it (the default where one runs
                  at once), or has to 'step_aside'
    scheduled     when it runs by itself: cron, every, timezone, overlap, catch_up, jitter, input
    concurrency   how many of it run at once, in all processes; None: as many as there are places for
    rate          how many of it begin in a period, in all processes, such as '100/1m'
    burst         how many of a rate may begin at once; None: they are spread evenly
    capture_logs  what it logs by the standard library is kept with its runs, from this level on: 'debug',
                  'info', 'warning', 'error', or 'off'; None: as the worker's setting says
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
    concurrency_key: KeyWords | None = None
    key_concurrency: int = 1
    on_failure: OnFailure | None = None
    scheduled: Scheduled | None = None
    batch: Batch | None = None
    concurrency: int | None = None
    rate: Rate | None = None
    burst: int | None = None
    capture_logs: Capture | None = None

    @property
    def keeps_slot(self) -> bool:
        """Whether a failed run keeps the slot of its concurrency key until its retry."""
        return self.on_failure == "block" if self.on_failure else self.key_concurrency == 1

    @classmethod
    def of(cls, **given: Any) -> TaskOptions:
        """Check what was written in `@task(...)`. Raises InvalidOption, naming the option."""
        schedule = scheduled_words(given)
        rest = {option: value for option, value in given.items() if option not in schedule}
        check_known(rest, {*_TASK_CHECKS, *TaskWords.__annotations__}, "@task")
        if given.get("burst") is not None and given.get("rate") is None:
            raise InvalidOption("burst: belongs to a rate: rate='100/1m', burst=20.", option="burst")
        return cls(**checked(rest, _TASK_CHECKS), scheduled=Scheduled.of(**schedule))

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
            "concurrency_key": {"of": parameters(key)} if callable(key := self.concurrency_key) else key,
            "key_concurrency": self.key_concurrency,
            "batch": self.batch.describe() if self.batch else None,
            "on_failure": "block" if self.keeps_slot else "step_aside",
            "concurrency": self.concurrency,
            "rate": str(self.rate) if self.rate else None,
            "burst": self.burst,
            "capture_logs": self.capture_logs,
        }


def _check_backoff(value: Any, option: str) -> Backoff:
    if isinstance(value, Exponential | Fixed | Custom):
        return value
    if callable(value) and not isinstance(value, type):
        return Custom(value)
    if isinstance(value, str | int | float | timedelta):
        return Fixed(parse_duration(value, field=option))
    raise InvalidOption(
        f"{option}: {shown(value)} is no backoff: give Exponential(...), Fixed(...), a duration,"
        " or a function of (attempt, error) that returns one.",
        option=option,
    )


def _check_description(value: Any, option: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidOption(f"{option}: must be a text without NUL.", option=option)
    return value


def _class_name(one: type[BaseException]) -> str:
    return one.__qualname__ if one.__module__ == "builtins" else f"{one.__module__}.{one.__qualname__}"


_TASK_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "name": check_text,
    "queue": check_text,
    "priority": check_whole(-32768, 32767),
    "max_attempts": check_whole(1, 32767),
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
    "concurrency_key": check_concurrency_key,
    "key_concurrency": check_whole(1, 32767),
    "on_failure": check_choice("block", "step_aside"),
    "batch": check_batch,
    "concurrency": check_whole(1, 1_000_000_000),
    "rate": lambda value, option: parse_rate(value, field=option),
    "burst": check_whole(1, 1_000_000_000),
    "capture_logs": check_choice(*CAPTURES),
}
