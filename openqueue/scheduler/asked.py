"""What may be said of a schedule when it is added or edited. Checked when it is said. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypedDict

from openqueue.codec import encode
from openqueue.durations import Duration, parse_duration
from openqueue.errors import InvalidOption
from openqueue.scheduler.model import ScheduleInfo
from openqueue.scheduler.planner import Policy
from openqueue.scheduler.rules import Rule
from openqueue.tasks.checks import (
    check_choice,
    check_known,
    check_lasting,
    check_moment,
    check_object,
    check_text,
    check_texts,
    check_whole,
)

__all__ = [
    "RULE",
    "Asked",
    "ScheduleChanges",
    "ScheduleWords",
    "as_arguments",
    "asked",
    "changed",
    "rule_of",
    "said",
]

Overlap = Literal["allow", "skip", "queue", "cancel_previous"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A schedule to be stored, found to be in order."""

    key: str
    arguments: list[Any]


class ScheduleWords(TypedDict, total=False):
    """The options of a schedule, as they may be written; None is as if left out.

    cron, every   when it is due: an expression, or a length of elapsed time; one of them
    timezone      whose wall clock `cron` is about (UTC)
    start_at      the first moment at which it may be due; `end_at` the last
    max_runs      after how many runs it is finished
    catch_up      how many of the newest missed ticks run after a downtime (0)
    overlap       what becomes of a tick while a run of the schedule is unfinished: 'allow' (another run),
                  'skip', 'queue' (one waits) or 'cancel_previous'
    jitter        the most that a run is delayed
    queue, priority, max_attempts, deadline, meta, tags, concurrency_key
                  of the runs, instead of the task's
    """

    cron: str | None
    every: Duration | None
    timezone: str | None
    start_at: datetime | str | None
    end_at: datetime | str | None
    max_runs: int | None
    catch_up: int | None
    overlap: Overlap | None
    jitter: Duration | None
    queue: str | None
    priority: int | None
    max_attempts: int | None
    deadline: Duration | None
    meta: Mapping[str, Any] | None
    tags: Iterable[str] | None
    concurrency_key: str | None


class ScheduleChanges(ScheduleWords, total=False):
    """What may be changed of a schedule; None is the default."""

    task: str
    input: Mapping[str, Any] | None


RULE: Final = ("cron", "every", "timezone", "start_at", "end_at")
"""The options that say when it is due."""

_CHECKS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "cron": check_text,
    "every": check_lasting,
    "timezone": check_text,
    "start_at": check_moment,
    "end_at": check_moment,
    "max_runs": check_whole(1, 2**31 - 1),
    "catch_up": check_whole(0, 1_000),
    "overlap": check_choice("allow", "skip", "queue", "cancel_previous"),
    "jitter": lambda value, option: parse_duration(value, field=option),
    "queue": check_text,
    "priority": check_whole(-32768, 32767),
    "max_attempts": check_whole(1, 32767),
    "deadline": check_lasting,
    "meta": check_object,
    "tags": check_texts,
    "concurrency_key": check_text,
}
_MORE: Final[dict[str, Callable[[Any, str], Any]]] = {"task": check_text, "input": check_object}


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a new schedule, each in its one form. Raises InvalidOption, naming the option."""
    check_known(given, _CHECKS, "a schedule")
    words = {option: _CHECKS[option](value, option) for option, value in given.items() if value is not None}
    rule = rule_of(words)
    Policy(words.get("catch_up", 0), words.get("jitter", timedelta(0)), words.get("max_runs"))
    return {**words, **{option: getattr(rule, option) for option in RULE}}


def changed(given: Mapping[str, Any], before: ScheduleInfo) -> dict[str, Any]:
    """The changes to a schedule, each in its one form, found to make sense together with what stays."""
    checks = {**_CHECKS, **_MORE}
    check_known(given, checks, "a schedule")
    words = {
        option: None if value is None else checks[option](value, option) for option, value in given.items()
    }
    if not words:
        raise InvalidOption(
            f"changes: nothing is to be changed. Give one of {', '.join(checks)}.", option="changes"
        )
    if words.get("task", "") is None:
        raise InvalidOption("task: a schedule cannot be without one.", option="task")
    if words.keys() & set(RULE):
        rule_of({**_rule_after(words, before), **{one: words[one] for one in RULE if one in words}})
    return words


def rule_of(words: Mapping[str, Any]) -> Rule:
    """The rule in some options. Raises InvalidOption if it is none."""
    return Rule(
        words.get("cron"),
        words.get("every"),
        words.get("timezone") or "UTC",
        words.get("start_at"),
        words.get("end_at"),
    )


def _rule_after(words: Mapping[str, Any], before: ScheduleInfo) -> dict[str, Any]:
    """What stays of a rule: one of cron and every takes the other's place."""
    stays = {option: getattr(before, option) for option in RULE}
    for one, other in (("cron", "every"), ("every", "cron")):
        if words.get(one) is not None:
            stays[other] = None
    return stays


def said(words: Mapping[str, Any]) -> dict[str, Any]:
    """The same in the words of the database: `payload` and `queue_name`, moments and intervals as text."""
    return {_IN_SQL.get(option, option): _told(value) for option, value in words.items()}


_IN_SQL: Final = {"input": "payload", "queue": "queue_name"}


def _told(value: Any) -> Any:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f} seconds"
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def as_arguments(
    key: str, task: str, payload: Mapping[str, Any], words: Mapping[str, Any], namespace: str
) -> list[Any]:
    """The arguments of the statement `add_schedule`."""
    told = said(words)
    meta = told.get("meta")
    options = (
        *("cron", "every", "timezone", "start_at", "end_at", "max_runs", "catch_up", "overlap", "jitter"),
        *("queue_name", "priority", "max_attempts", "deadline"),
    )
    return [
        *(key, task, encode(payload, what="input")),
        *(told.get(option) for option in options),
        *(None if meta is None else encode(meta, what="meta"), told.get("tags"), namespace),
        told.get("concurrency_key"),
    ]
