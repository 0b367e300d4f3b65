"""Durations as people write them: `30s`, `1h30m`, `2d`, `500ms`, ISO 8601, seconds, timedelta."""

from __future__ import annotations

import re
from datetime import timedelta
from math import isfinite
from typing import TypeGuard

from openqueue.errors import InvalidOption, shown

__all__ = ["LONGEST", "Duration", "format_duration", "is_number", "parse_age", "parse_duration"]

Duration = str | int | float | timedelta
"""What is accepted wherever a duration is asked for."""

LONGEST = timedelta(days=36_525)
"""A hundred years: what is longer is refused, so that now plus a duration is always a date."""

_N = r"([0-9]+(?:\.[0-9]+)?)"
_SHORT = re.compile(rf"(?:{_N}w)? *(?:{_N}d)? *(?:{_N}h)? *(?:{_N}m)? *(?:{_N}s)? *(?:{_N}ms)?")
_ISO = re.compile(rf"P(?:{_N}W)?(?:{_N}D)?(?:T(?=[0-9])(?:{_N}H)?(?:{_N}M)?(?:{_N}S)?)?")
_CALENDAR = re.compile(r"P[0-9.]+[YM]")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_UNITS = ("weeks", "days", "hours", "minutes", "seconds", "milliseconds")
_BARE = " or a number of seconds"
_HOW = f"Write '30s', '5m', '1h30m', '2d', '500ms', ISO 8601 ('PT5M'){_BARE}."


def parse_duration(value: Duration, *, field: str, allow_zero: bool = True) -> timedelta:
    """Read a duration; numbers (also as text) are seconds.

    Raises InvalidOption, naming `field`, for what is not a duration, is negative, is not finite, is
    longer than a hundred years, or is zero where `allow_zero` is false.
    """
    found = _read(value, field)
    if found < timedelta(0):
        raise _refuse(field, value, "is negative")
    if found > LONGEST:
        raise _refuse(field, value, "is longer than a hundred years")
    if not found and not allow_zero:
        raise _refuse(field, value, "must be longer than zero")
    return found


def parse_age(value: Duration, *, field: str) -> timedelta:
    """Read how old something must be to be removed: a duration above zero that names its unit.

    A bare number is seconds elsewhere; who writes 90 here may well mean days, and what is removed is gone.
    Raises InvalidOption, naming `field`.
    """
    if is_number(value) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        raise InvalidOption(
            f"{field}: {shown(value)} has no unit: write '90d' for ninety days, '12h' for twelve hours.",
            option=field,
        )
    try:
        return parse_duration(value, field=field, allow_zero=False)
    except InvalidOption as error:
        raise InvalidOption(str(error).replace(_BARE, ""), option=field) from None


def format_duration(duration: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it: `1h30m`, `2d`, `1.5s`, `500ms`, `0s`."""
    if duration < timedelta(0):
        return "-" + format_duration(-duration)
    hours, rest = divmod(duration.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    whole = "".join(f"{n}{unit}" for n, unit in ((duration.days, "d"), (hours, "h"), (minutes, "m")) if n)
    return whole + _format_seconds(seconds, duration.microseconds, alone=not whole)


def _format_seconds(seconds: int, microseconds: int, *, alone: bool) -> str:
    if not seconds and not microseconds:
        return "0s" if alone else ""
    if alone and not seconds:
        return f"{_trim(microseconds, 1_000)}ms"
    return f"{_trim(seconds * 1_000_000 + microseconds, 1_000_000)}s"


def _trim(amount: int, per_unit: int) -> str:
    whole, part = divmod(amount, per_unit)
    return f"{whole}.{part:0{len(str(per_unit)) - 1}d}".rstrip("0").rstrip(".")


def _read(value: object, field: str) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        if isinstance(value, str):
            return _read_text(value, field)
        if is_number(value):
            return timedelta(seconds=value)
    except OverflowError:
        raise _refuse(field, value, "is longer than a hundred years") from None
    raise _refuse(field, value, "is not a duration")


def is_number(value: object) -> TypeGuard[int | float]:
    """A finite int or float; True and False are not numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _read_text(text: str, field: str) -> timedelta:
    stripped = text.strip()
    if _NUMBER.fullmatch(stripped):
        return timedelta(seconds=float(stripped))
    if _CALENDAR.match(stripped):
        raise _refuse(field, text, "has years or months, which differ in length: write days")
    match = _SHORT.fullmatch(stripped) or _ISO.fullmatch(stripped)
    parts = {unit: float(n) for unit, n in zip(_UNITS, match.groups(), strict=False) if n} if match else {}
    if not parts:
        raise _refuse(field, text, "is negative" if stripped.startswith("-") else "is not a duration")
    return timedelta(**parts)


def _refuse(field: str, value: object, why: str) -> InvalidOption:
    return InvalidOption(f"{field}: {shown(value)} {why}. {_HOW}", option=field)
