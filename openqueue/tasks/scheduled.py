"""The schedule that a task declares for itself: `@task(cron="0 2 * * *", timezone="Europe/Berlin")`.

Here each word is checked by itself. What the expression means is computed in the scheduler, which is
above this room; a worker reads the schedules of its tasks before it starts, and refuses what it cannot use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption
from openqueue.tasks.checks import check_choice, check_lasting, check_object, check_text, check_whole

__all__ = ["Scheduled", "scheduled_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """When a task runs by itself.

    cron, every   an expression, or an interval; one of them
    timezone      whose wall clock `cron` is about
    overlap       what becomes of a tick while a run of the schedule is unfinished: 'allow', 'skip',
                  'queue' (one waits) or 'cancel_previous'
    catch_up      how many of the newest missed ticks run after a downtime
    jitter        the most that a run is delayed
    input         its arguments
    """

    cron: str | None = None
    every: timedelta | None = None
    timezone: str = "UTC"
    overlap: Literal["allow", "skip", "queue", "cancel_previous"] = "allow"
    catch_up: int = 0
    jitter: timedelta = timedelta(0)
    input: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **given: Any) -> Scheduled | None:
        """Check what was written in `@task(...)`; None for nothing. Raises InvalidOption."""
        words = {
            option: _CHECKS[option](value, option) for option, value in given.items() if value is not None
        }
        if not words:
            return None
        if "cron" in words and "every" in words:
            raise InvalidOption("every: given together with cron. Leave one of them out.", option="every")
        if "cron" not in words and "every" not in words:
            option = next(iter(words))
            raise InvalidOption(
                f"{option}: means nothing without a schedule. Give cron='0 2 * * *' or every='5m' too.",
                option=option,
            )
        return cls(**words)


def scheduled_words(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that are of a schedule."""
    return {option: value for option, value in given.items() if option in _CHECKS}


def _check_jitter(value: Any, option: str) -> timedelta:
    return parse_duration(value, field=option)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "cron": check_text,
    "every": check_lasting,
    "timezone": check_text,
    "overlap": check_choice("allow", "skip", "queue", "cancel_previous"),
    "catch_up": check_whole(0, 1_000),
    "jitter": _check_jitter,
    "input": check_object,
}
