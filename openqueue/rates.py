"""Rates as people write them: `100/1m`, `5/s`, `1000/1h`: how many may begin in a period."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from openqueue.durations import Duration, format_duration, parse_duration
from openqueue.errors import InvalidOption, shown

__all__ = ["MOST", "Rate", "RateWords", "parse_rate"]

MOST = 1_000_000_000
"""The most that a rate may let through in its period."""

_RATE = re.compile(r"\s*([0-9]{1,18})\s*/\s*(\S.*?)\s*")
_ONE = re.compile(r"1(?:d|h|m|s|ms)")
_UNIT = re.compile(r"w|d|h|m|s|ms")
_HOW = "Write how many and the period, such as '100/1m', '5/s' or '1000/1h'."


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a period: `Rate(100, timedelta(minutes=1))`, the same as `Rate.of("100/1m")`."""

    count: int
    period: timedelta

    @classmethod
    def of(cls, value: RateWords) -> Self:
        """Read `100/1m`. Raises InvalidOption."""
        found = parse_rate(value, field="rate")
        return cls(found.count, found.period)

    def __str__(self) -> str:
        """As it is written: `5/s`, `100/m`, `30/15m`."""
        period = format_duration(self.period)
        return f"{self.count}/{period[1:] if _ONE.fullmatch(period) else period}"


RateWords = str | Rate
"""What is accepted wherever a rate is asked for."""


def parse_rate(value: RateWords, *, field: str) -> Rate:
    """Read a rate. Raises InvalidOption, naming `field`, for what is none."""
    if isinstance(value, Rate):
        return _checked(value, value.count, value.period, field)
    text: Any = value
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise _refuse(field, value, "is not a rate")
    count, period = found.groups()
    return _checked(value, int(count), f"1{period}" if _UNIT.fullmatch(period) else period, field)


def _checked(value: object, count: Any, period: Duration, field: str) -> Rate:
    if type(count) is not int or not 1 <= count <= MOST:
        raise _refuse(field, value, f"lets none through, or more than {MOST}")
    try:
        return Rate(count, parse_duration(period, field=field, allow_zero=False))
    except InvalidOption:
        raise _refuse(field, value, f"has no period: {period!r} is not a duration longer than zero") from None


def _refuse(field: str, value: object, why: str) -> InvalidOption:
    return InvalidOption(f"{field}: {shown(value)} {why}. {_HOW}", option=field)
