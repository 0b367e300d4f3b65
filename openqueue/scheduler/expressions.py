"""Cron expressions, from text to a `Pattern`; what could mean two things is refused, with what to write.

Five fields (minute, hour, day of the month, month, day of the week), or six with the seconds *first*, as
Quartz, Spring, Go's robfig/cron (River) and cronsim have it. The grammar of a field is croniter's; the
hashes are our own, so that no new version of a library moves a schedule, and so are the days' rules
(Debian's) and the walk from one time to the next.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from croniter import CroniterError, croniter

from openqueue.errors import InvalidOption, did_you_mean, shown
from openqueue.scheduler.patterns import Days, Pattern

__all__ = ["FIELDS", "check_cron", "read_cron", "read_fields", "written"]


class Field(NamedTuple):
    """One field of an expression: its name, what it may hold, and what `H` chooses from."""

    name: str
    lowest: int
    highest: int
    hashed: int


FIELDS = (
    Field("second", 0, 59, 59),
    Field("minute", 0, 59, 59),
    Field("hour", 0, 23, 23),
    Field("day of the month", 1, 31, 28),  # `H` is a day that every month has
    Field("month", 1, 12, 12),
    Field("day of the week", 0, 7, 6),
)
SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY = range(6)

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_HASH = re.compile(r"H(?:\((\d{1,2})-(\d{1,2})\))?(?:/(\d{1,3}))?")
_RANGE = re.compile(r"(\w+)-(\w+)(/\d+)?")
_STEP = re.compile(r"(?:\*|\w+|(\w+)-(\w+))/(\d+)")
_LAST_WEEKDAY = re.compile(r"\b([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)L\b")


def check_cron(value: Any, option: str = "cron") -> str:
    """The expression with single spaces, if it can be read and ever matches; else InvalidOption.

    Whether it can be read does not depend on the schedule's key: what `H` chooses is always allowed.
    """
    if not isinstance(value, str):
        raise InvalidOption(f"{option}: {shown(value)} must be a text such as '0 2 * * *'.", option=option)
    text = " ".join(value.split())
    try:
        pattern = read_cron(text, "")
    except _Unreadable as error:
        raise InvalidOption(f"{option}: {_short(text)} {error}", option=option) from None
    if not _ever(pattern.days, pattern.months):
        raise InvalidOption(
            f"{option}: {_short(text)} never fires: no year has such a day. Change the day or the month.",
            option=option,
        )
    return text


@lru_cache(maxsize=20_000)
def read_cron(text: str, key: str) -> Pattern:
    """The pattern of an expression that `check_cron` let pass; `key` is the schedule's, for `H`."""
    if key and "H" not in text.upper():
        return read_cron(text, "")
    fields = read_fields(text, key)
    seconds, minutes, hours, dates, months, weekdays = (
        _values(*each) for each in zip(fields, range(6), strict=True)
    )
    days = Days(
        dates=dates.plain,
        weekdays=weekdays.plain,
        both=any(field.startswith(("*", "?")) for field in (fields[DAY], fields[WEEKDAY])),
        last=dates.last,
        nearest=dates.nearest,
        nth=weekdays.nth,
    )
    return Pattern(
        seconds=seconds.ordered,
        minutes=minutes.ordered,
        hours=hours.ordered,
        days=days,
        months=months.ordered,
        fixed=not any(_is_wildcard(field) for field in written(text)[:DAY]),
    )


def written(text: str) -> list[str]:
    """The six fields of an expression as they are written, in capitals."""
    if text.startswith("@"):
        text = _named(text)
    fields = text.upper().split()
    if len(fields) not in {5, 6}:
        raise _Unreadable(_how_many(len(fields)))
    return fields if len(fields) == 6 else ["0", *fields]


def read_fields(text: str, key: str) -> list[str]:
    """The six fields, in capitals, with the numbers that `H` stands for in a schedule of this key."""
    fields = []
    for place, (field, one) in enumerate(zip(written(text), FIELDS, strict=True)):
        tokens = [_hashed(token, one, f"{place}:{key}") for token in field.split(",")]
        for token in tokens:
            _refuse_ambiguous(token, one)
        fields.append(",".join(tokens))
        _values(fields[-1], place)
    return fields


class _Unreadable(ValueError):
    """What is wrong with an expression, to be said after naming it."""


def _named(text: str) -> str:
    name = text.lower()
    if name == "@reboot":
        raise _Unreadable(
            "is not a time: a queue of many workers does not start once. Enqueue when your program starts."
        )
    if name not in _NAMED:
        near = did_you_mean(name, _NAMED) or f" There are: {', '.join(_NAMED)}."
        raise _Unreadable(f"is no name of an expression.{near}")
    return _NAMED[name]


def _how_many(count: int) -> str:
    if count == 7:
        return "has 7 fields: years are not supported. Use start_at and end_at."
    return (
        f"has {count} field{'' if count == 1 else 's'}. Write 5: minute, hour, day of the month, month,"
        " day of the week ('0 2 * * *' is 02:00 every day); or 6, with the seconds first."
    )


def _hashed(token: str, field: Field, seed: str) -> str:
    """`H` as a number: the same for one key and place, spread evenly over keys."""
    if token.startswith("R") and _HASH.fullmatch("H" + token[1:]):
        raise _Unreadable(
            f"has {token!r}: a time that differs whenever it is computed. Use 'H', or a jitter."
        )
    found = _HASH.fullmatch(token)
    if not found:
        return token
    low, high, step = found.groups()
    first, last = (int(low), int(high)) if low else (field.lowest, field.hashed)
    if not field.lowest <= first < last <= field.highest:
        raise _Unreadable(f"has {token!r}: the {field.name} is from {field.lowest} to {field.highest}.")
    width = last - first + 1
    if step and not 1 < int(step) < width:
        raise _Unreadable(f"has {token!r}: a step is from 2 to {width - 1} there.")
    number = int.from_bytes(sha256(seed.encode()).digest()[:8]) % (int(step) if step else width)
    return f"{first + number}-{last}/{step}" if step else str(first + number)


def _refuse_ambiguous(token: str, field: Field) -> None:
    around = _RANGE.fullmatch(token)
    if around and around[1] == around[2]:
        raise _Unreadable(f"has {token!r}: write {around[1]!r} for one {field.name}, '*' for each.")
    stepped = _STEP.fullmatch(token)
    if stepped:
        _refuse_step(token, stepped, field)


def _refuse_step(token: str, stepped: re.Match[str], field: Field) -> None:
    size, step = field.highest - field.lowest + 1, int(stepped[3])
    if field is FIELDS[WEEKDAY]:
        size = 7
    if step == 0 or step >= size:
        raise _Unreadable(
            f"has {token!r}: a step is from 1 to {size - 1} there, within one run of the {field.name}."
            " For a steady interval use every, such as every='90m'."
        )
    low, high = stepped[1], stepped[2]
    if low and low.isdigit() and high.isdigit() and int(low) > int(high):
        raise _Unreadable(f"has {token!r}: a range with a step that goes backwards. List the values.")


class Values(NamedTuple):
    """What one field matches: plain numbers, and what only fields of days have."""

    plain: frozenset[int]
    ordered: tuple[int, ...]
    last: bool
    nearest: frozenset[int]
    nth: frozenset[tuple[int, int]]


@lru_cache(maxsize=20_000)
def _values(field: str, place: int) -> Values:
    """Have croniter read one field alone, so that the message can name it and each is read once."""
    one = FIELDS[place]
    alone = ["0", "0", "0", "*", "*", "*"]
    alone[place] = _LAST_WEEKDAY.sub(_for_croniter, field) if place == WEEKDAY else field
    try:
        found = croniter(" ".join(alone), 0.0, second_at_beginning=True)
    except (CroniterError, ValueError, KeyError, IndexError):
        named = {MONTH: " or JAN-DEC", WEEKDAY: " or SUN-SAT"}.get(place, "")
        raise _Unreadable(
            f"has {field!r} as its {one.name}: that is {one.lowest}-{one.highest}{named}, '*',"
            " lists ('1,15'), ranges ('9-17') and steps ('*/5')."
        ) from None
    values = found.expanded[(place - 1) % 6]  # croniter keeps the seconds behind
    nth = found.nth_weekday_of_month
    highest = min(one.highest, 6) if place == WEEKDAY else one.highest
    plain = frozenset(range(one.lowest, highest + 1) if values == ["*"] else values)
    plain = frozenset() if found.nearest_weekday else plain - {"l"} - set(nth)
    return Values(
        plain=plain,
        ordered=tuple(sorted(plain)),
        last="l" in values,
        nearest=frozenset(found.nearest_weekday),
        nth=frozenset((day, 0 if n == "l" else n) for day, each in nth.items() for n in each),
    )


def _for_croniter(found: re.Match[str]) -> str:
    """The last Friday is written 5L or L5; croniter reads the second."""
    names = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
    return f"L{names.index(found[1]) if found[1] in names else found[1]}"


def _is_wildcard(field: str) -> bool:
    """Debian's rule: what begins with a star. `H/5` is `*/5` with another beginning."""
    return field.startswith(("*", "H/"))


@lru_cache(maxsize=20_000)
def _ever(days: Days, months: tuple[int, ...]) -> bool:
    """Looks at one round of the calendar: after 400 years weekdays and leap years are the same."""
    return any(days.of(year, month) for year in range(2000, 2400) for month in months)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
