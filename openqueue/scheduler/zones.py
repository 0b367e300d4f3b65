"""Time zones: which there are, and from when to when each keeps one distance from UTC.

Instants here are naive datetimes in UTC; `openqueue.scheduler.firetimes` converts at its door.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from openqueue.errors import InvalidOption, did_you_mean, shown

__all__ = ["Period", "check_timezone", "period_at"]

_STEP = timedelta(days=3)
"""No zone has ever kept an offset for less than this (the shortest lasted for weeks)."""
_SECOND = timedelta(seconds=1)
_NOT_PLACES = ("localtime", "posixrules", "Factory", "posix/", "right/")


class Period(NamedTuple):
    """A time in which a zone keeps one distance from UTC: from `start` on, before `end`.

    Each year begins a new one, whether or not the distance changes.
    """

    start: datetime
    end: datetime
    offset: timedelta
    before: timedelta
    """The distance just before `start`: what is repeated or left out begins there."""


def period_at(zone: ZoneInfo, instant: datetime) -> Period:
    """The period of `zone` that holds `instant`."""
    starts, periods = _year(zone, instant.year)
    return periods[bisect_right(starts, instant) - 1]


def check_timezone(value: Any, option: str = "timezone") -> str:
    """The name of a zone in the IANA database, such as Europe/Berlin.

    Raises InvalidOption, with the nearest names, for what is none, for a bare offset (it knows no
    daylight saving) and for `localtime`, which differs from machine to machine.
    """
    if not isinstance(value, str) or not value:
        raise InvalidOption(
            f"{option}: {shown(value)} must be a zone's name, such as 'Europe/Berlin'.", option=option
        )
    if value.startswith(_NOT_PLACES):
        raise InvalidOption(
            f"{option}: {shown(value)} differs between machines. Name a place, such as 'Europe/Berlin'.",
            option=option,
        )
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidOption(
            f"{option}: there is no time zone {shown(value)}.{_nearest(value)}", option=option
        ) from None
    return value


def _nearest(value: str) -> str:
    names = sorted(available_timezones())
    known = {name.lower(): name for name in names}
    wanted = value.lower().replace(" ", "_")
    if wanted in known:
        return f" Did you mean {known[wanted]!r}?"
    cities = {name.rpartition("/")[2]: known[name] for name in known if "/" in name}
    if wanted in cities:
        return f" Did you mean {cities[wanted]!r}?"
    near = did_you_mean(wanted, known)
    for name in names:
        near = near.replace(repr(name.lower()), repr(name))
    return near or " Use a name of the IANA database, such as 'Europe/Berlin', 'America/New_York' or 'UTC'."


@lru_cache(maxsize=20_000)
def _year(zone: ZoneInfo, year: int) -> tuple[list[datetime], list[Period]]:
    """The periods of one year in UTC, found by looking at every third day and then by halves."""
    low, until = datetime(year, 1, 1), datetime(year + 1, 1, 1)  # noqa: DTZ001 in UTC
    offset = _offset(zone, low)
    starts, offsets = [low], [offset]
    while low < until:
        high = min(low + _STEP, until)
        found = _offset(zone, high)
        while found != offset:
            low = _change(zone, low, high)
            offset = _offset(zone, low)
            if low == until:
                break  # it begins with the next year
            starts.append(low)
            offsets.append(offset)
        low = high
    befores = [_offset(zone, starts[0] - _SECOND), *offsets[:-1]]
    ends = [*starts[1:], until]
    return starts, [Period(*each) for each in zip(starts, ends, offsets, befores, strict=True)]


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The second at which the offset of `low` ends, known to be over at `high`."""
    offset = _offset(zone, low)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    found = instant.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    assert found is not None
    return found
