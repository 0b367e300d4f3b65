"""The options of one enqueue. Checked when given, immutable afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict
from uuid import UUID

from openqueue.durations import Duration, parse_duration
from openqueue.errors import InvalidOption
from openqueue.tasks.checks import (
    check_choice,
    check_known,
    check_lasting,
    check_moment,
    check_object,
    check_text,
    check_texts,
    check_uuid,
    check_whole,
    checked,
)

__all__ = ["NO_OPTIONS", "EnqueueOptions", "EnqueueWords"]

KeyMode = Literal["replace", "keep_time", "skip", "merge"]


class EnqueueWords(TypedDict, total=False):
    """The keywords of `task.options(...)`, as they may be written; None is as if left out."""

    delay: Duration | None
    run_at: datetime | str | None
    priority: int | None
    queue: str | None
    key: str | None
    key_mode: KeyMode | None
    unique: Literal["args"] | None
    idempotency: str | None
    idempotency_ttl: Duration | None
    group: str | None
    concurrency_key: str | None
    meta: Mapping[str, Any] | None
    tags: Iterable[str] | None
    deadline: Duration | datetime | None
    max_attempts: int | None
    id: UUID | str | None
    connection: object


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueOptions:
    """What one enqueue says; None: what the task says. Built with `of`, which checks.

    delay, run_at  not before then (only one of them); None: now
    key            one unfinished run per namespace, task and key
    key_mode       'replace' (the default) overwrites the waiting run, 'keep_time' all but its time, 'skip'
                   nothing; 'merge' joins arguments that are lists
    unique         'args': the key is made of the task and its arguments; `key_mode` is 'skip' unless given
    idempotency    the same key again answers the earlier run, whatever has become of it
    idempotency_ttl  for so long; None: as the settings say, a day
    group          whose turn it is, in a queue that is fair between groups
    concurrency_key  instead of that of the task
    deadline       a moment, or a duration from now: not started by then, it expires
    id             the run's id, so that the enqueue can be repeated safely
    """

    delay: timedelta | None = None
    run_at: datetime | None = None
    priority: int | None = None
    queue: str | None = None
    key: str | None = None
    key_mode: KeyMode | None = None
    unique: Literal["args"] | None = None
    idempotency: str | None = None
    idempotency_ttl: timedelta | None = None
    group: str | None = None
    concurrency_key: str | None = None
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
        check_known(given, _ENQUEUE_CHECKS, "an enqueue")
        options = cls(**checked(given, _ENQUEUE_CHECKS))
        _check_together(options)
        return options


def _check_together(options: EnqueueOptions) -> None:
    if options.delay is not None and options.run_at is not None:
        raise InvalidOption("delay: cannot be combined with run_at. Give one of them.", option="delay")
    if options.unique is not None and options.key is not None:
        raise InvalidOption("unique: makes the key itself. Leave out key, or unique.", option="unique")
    if options.unique is not None and options.key_mode == "merge":
        raise InvalidOption(
            "key_mode: 'merge' changes the arguments, of which unique makes the key. Give key=... instead.",
            option="key_mode",
        )
    if options.key_mode is not None and options.key is None and options.unique is None:
        raise InvalidOption("key_mode: means nothing without a key. Give key=... too.", option="key_mode")
    if options.idempotency_ttl is not None and options.idempotency is None:
        raise InvalidOption(
            "idempotency_ttl: means nothing without a key. Give idempotency=... too.",
            option="idempotency_ttl",
        )


def _check_deadline(value: Any, option: str) -> timedelta | datetime:
    if isinstance(value, datetime):
        return check_moment(value, option)
    return check_lasting(value, option)


_ENQUEUE_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "delay": lambda value, option: parse_duration(value, field=option),
    "run_at": check_moment,
    "priority": check_whole(-32768, 32767),
    "queue": check_text,
    "key": check_text,
    "key_mode": check_choice("replace", "keep_time", "skip", "merge"),
    "unique": check_choice("args"),
    "idempotency": check_text,
    "idempotency_ttl": check_lasting,
    "group": check_text,
    "concurrency_key": check_text,
    "meta": check_object,
    "tags": check_texts,
    "deadline": _check_deadline,
    "max_attempts": check_whole(1, 32767),
    "id": check_uuid,
}

NO_OPTIONS = EnqueueOptions()
"""Everything as the task says."""
