"""The wall clock times of a cron expression: found by looking at its fields, never by trying each minute.

Walls are naive datetimes: what a clock on the wall shows, on a day of 24 hours. What a zone makes of
them is `openqueue.scheduler.firetimes`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import lru_cache

__all__ = ["Days", "Pattern"]

_SECOND = timedelta(seconds=1)
_HORIZON = 100
"""Years that are searched for the next day: 29 February can be 40 years from one Monday to the next."""


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a month that match, from its fields day-of-month and day-of-week (0 is Sunday).

    As in Debian's cron a day matches if *either* field does, and if one of them begins with a star
    (`*`, `*/2`) if *both* do.
    """

    dates: frozenset[int]
    weekdays: frozenset[int]
    both: bool
    last: bool = False  # the last day of the month, whichever it is
    nearest: frozenset[int] = frozenset()  # the working day (Monday to Friday) nearest to a date
    nth: frozenset[tuple[int, int]] = frozenset()  # (weekday, how manyth in the month; 0 for the last)

    def of(self, year: int, month: int) -> tuple[int, ...]:
        """The matching days of one month, in order."""
        return _days_of(self, year, month)

    def by_date(self, day: int, first: int, length: int) -> bool:
        """Whether day-of-month matches; `first` is the weekday of the 1st, `length` the month's."""
        if day in self.dates or (self.last and day == length):
            return True
        return any(day == _nearest_weekday(wanted, first, length) for wanted in self.nearest)

    def by_weekday(self, day: int, first: int, length: int) -> bool:
        """Whether day-of-week matches."""
        weekday = (first + day - 1) % 7
        if weekday in self.weekdays:
            return True
        return (weekday, (day + 6) // 7) in self.nth or (day + 7 > length and (weekday, 0) in self.nth)


@lru_cache(maxsize=20_000)
def _days_of(days: Days, year: int, month: int) -> tuple[int, ...]:
    monday_first, length = monthrange(year, month)
    first = (monday_first + 1) % 7
    join = all if days.both else any
    return tuple(
        day
        for day in range(1, length + 1)
        if join((days.by_date(day, first, length), days.by_weekday(day, first, length)))
    )


def _nearest_weekday(wanted: int, first: int, length: int) -> int:
    """The working day nearest to a date, within its month."""
    day = min(wanted, length)
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a cron expression matches. Seconds, minutes, hours and months are in order, without gaps in it.

    `fixed` is true if it names the time of day: neither second, minute nor hour is a star.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    months: tuple[int, ...]
    fixed: bool
    a_day: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "a_day", len(self.hours) * len(self.minutes) * len(self.seconds))

    def first_from(self, wall: datetime) -> datetime | None:
        """The first match at or after `wall`; None if there is none within a hundred years."""
        if wall.microsecond:
            wall = wall.replace(microsecond=0) + _SECOND
        if self._has_day(wall):
            found = self._time_from(wall.hour, wall.minute, wall.second)
            if found:
                return datetime.combine(wall.date(), found)
        for year, month in self._months_from(wall.year, wall.month):
            days = self.days.of(year, month)
            at = bisect_right(days, wall.day) if (year, month) == (wall.year, wall.month) else 0
            if at < len(days):
                return datetime(year, month, days[at], self.hours[0], self.minutes[0], self.seconds[0])  # noqa: DTZ001 a wall
        return None

    def last_before(self, wall: datetime) -> datetime | None:
        """The last match before `wall`, not at it; None if there is none within a hundred years."""
        if self._has_day(wall):
            found = self._time_before(wall.time())
            if found:
                return datetime.combine(wall.date(), found)
        for year, month in self._months_back(wall.year, wall.month):
            days = self.days.of(year, month)
            at = bisect_left(days, wall.day) if (year, month) == (wall.year, wall.month) else len(days)
            if at:
                return datetime(  # noqa: DTZ001 a wall
                    year, month, days[at - 1], self.hours[-1], self.minutes[-1], self.seconds[-1]
                )
        return None

    def count(self, start: datetime, end: datetime) -> int:
        """How many match from `start` on and before `end`; costs a step a month, not one a match."""
        return self._before(end) - self._before(start) + self.a_day * self._days_between(start, end)

    def _has_day(self, wall: datetime) -> bool:
        return wall.month in self.months and wall.day in self.days.of(wall.year, wall.month)

    def _months_from(self, year: int, month: int) -> Iterator[tuple[int, int]]:
        for other in range(year, min(year + _HORIZON, 9999) + 1):
            for one in self.months:
                if other > year or one >= month:
                    yield other, one

    def _months_back(self, year: int, month: int) -> Iterator[tuple[int, int]]:
        for other in range(year, max(year - _HORIZON, 1) - 1, -1):
            for one in reversed(self.months):
                if other < year or one <= month:
                    yield other, one

    def _time_from(self, hour: int, minute: int, second: int) -> time | None:
        if hour in self.hours:
            if minute in self.minutes:
                at = bisect_left(self.seconds, second)
                if at < len(self.seconds):
                    return time(hour, minute, self.seconds[at])
            at = bisect_right(self.minutes, minute)
            if at < len(self.minutes):
                return time(hour, self.minutes[at], self.seconds[0])
        at = bisect_right(self.hours, hour)
        return time(self.hours[at], self.minutes[0], self.seconds[0]) if at < len(self.hours) else None

    def _time_before(self, at: time) -> time | None:
        rank = self._rank(at)
        if not rank:
            return None
        rest, second = divmod(rank - 1, len(self.seconds))
        hour, minute = divmod(rest, len(self.minutes))
        return time(self.hours[hour], self.minutes[minute], self.seconds[second])

    def _rank(self, at: time) -> int:
        """How many times of day match before `at`."""
        minutes = bisect_left(self.hours, at.hour) * len(self.minutes)
        if at.hour not in self.hours:
            return minutes * len(self.seconds)
        minutes += bisect_left(self.minutes, at.minute)
        if at.minute not in self.minutes:
            return minutes * len(self.seconds)
        # A fraction of a second counts: 12:00:00 is before 12:00:00.5.
        look = bisect_right if at.microsecond else bisect_left
        return minutes * len(self.seconds) + look(self.seconds, at.second)

    def _before(self, wall: datetime) -> int:
        """How many match on the day of `wall`, before it."""
        return self._rank(wall.time()) if self._has_day(wall) else 0

    def _days_between(self, start: datetime, end: datetime) -> int:
        """How many days match from that of `start` on, before that of `end`."""
        if (start.year, start.month) == (end.year, end.month):
            return self._days_before(end) - self._days_before(start)
        total = self._days_before(end) - self._days_before(start)
        year, month = start.year, start.month
        while (year, month) < (end.year, end.month):
            if month in self.months:
                total += len(self.days.of(year, month))
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return total

    def _days_before(self, wall: datetime) -> int:
        return bisect_left(self.days.of(wall.year, wall.month), wall.day) if wall.month in self.months else 0
