"""When a schedule is due: cron or an interval, a zone, the first and the last moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from openqueue.durations import format_duration, parse_duration
from openqueue.errors import InvalidOption
from openqueue.scheduler.expressions import check_cron
from openqueue.scheduler.zones import check_timezone
from openqueue.tasks.checks import check_moment

__all__ = ["LONGEST_INTERVAL", "SHORTEST_INTERVAL", "Rule"]

SHORTEST_INTERVAL = timedelta(seconds=1)
LONGEST_INTERVAL = timedelta(days=3_660)
_FIRST_YEAR, _LAST_YEAR = 1970, 2199


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of times; made is checked, and in one form.

    Args:
        cron: an expression of 5 fields, of 6 with the seconds first, or a name such as `@daily`.
        every: the interval; durations are read as everywhere (`"90s"`, `timedelta`, seconds).
        timezone: whose wall clock the expression is about; an interval is of elapsed time and has none.
        start_at, end_at: the first and the last moment at which it may be due, both included. An
            interval is counted from `start_at`, else from when the schedule was made.

    Raises:
        InvalidOption: neither or both of cron and every, and what `check_cron` and `check_timezone`
            refuse; moments without a zone; an interval under a second or over ten years; an end
            before the start.
    """

    cron: str | None = None
    every: timedelta | None = None
    timezone: str = "UTC"
    start_at: datetime | None = None
    end_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.cron is not None and self.every is not None:
            raise InvalidOption("every: given together with cron. Leave one of them out.", option="every")
        if self.cron is not None:
            object.__setattr__(self, "cron", check_cron(self.cron))
        elif self.every is not None:
            object.__setattr__(self, "every", _check_interval(self.every))
        else:
            raise InvalidOption(
                "cron: missing, and so is every. Give one of them, such as cron '0 2 * * *' or every '5m'.",
                option="cron",
            )
        check_timezone(self.timezone)
        for option in ("start_at", "end_at"):
            value = getattr(self, option)
            if value is not None:
                object.__setattr__(self, option, _check_moment(value, option))
        if self.start_at and self.end_at and self.end_at < self.start_at:
            raise InvalidOption(
                f"end_at: {self.end_at.isoformat()} is before start_at, {self.start_at.isoformat()}.",
                option="end_at",
            )

    @property
    def zone(self) -> ZoneInfo:
        """The zone, as an object."""
        return ZoneInfo(self.timezone)


def _check_interval(value: Any) -> timedelta:
    every = parse_duration(value, field="every", allow_zero=False)
    if not SHORTEST_INTERVAL <= every <= LONGEST_INTERVAL:
        raise InvalidOption(
            f"every: {format_duration(every)} is out of range:"
            f" {format_duration(SHORTEST_INTERVAL)} to {format_duration(LONGEST_INTERVAL)}.",
            option="every",
        )
    return every


def _check_moment(value: Any, option: str) -> datetime:
    """In UTC: two rules that name one moment in different zones are equal."""
    moment = check_moment(value, option).astimezone(UTC)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise InvalidOption(
            f"{option}: {moment.isoformat()} is not between {_FIRST_YEAR} and {_LAST_YEAR}."
            " Leave it out for no bound.",
            option=option,
        )
    return moment
