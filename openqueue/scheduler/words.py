"""A rule in plain English: `at 09:00 and 17:00 on Monday to Friday in January`.

The words are made from what an expression matches, not from how it is written, so that they say what
will happen: `*/7` in the minute is no "every 7 minutes" (it starts again each hour) but a list of minutes,
and `H` is the minute it chose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from openqueue.scheduler.expressions import read_cron
from openqueue.scheduler.patterns import Days, Pattern
from openqueue.scheduler.rules import Rule

__all__ = ["in_words"]

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_NTH = ("last", "1st", "2nd", "3rd", "4th", "5th")
_MOST_TIMES = 6
"""So many times of day are listed; more are described."""


def in_words(rule: Rule, key: str = "") -> str:
    """Say when a rule fires, without its zone and bounds; `key` is the schedule's, for `H`."""
    if rule.every is not None:
        return _interval(rule.every)
    assert rule.cron is not None
    pattern = read_cron(rule.cron, key)
    clock = _clock(pattern)
    days = _days(pattern.days)
    months = "" if len(pattern.months) == 12 else f" in {_listed(pattern.months, _month, circle=12)}"
    if not days and clock.startswith("at ") and ":" in clock:
        days = " every day"
    return f"{clock}{days}{months}"


def _interval(every: timedelta) -> str:
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count, rest = divmod(every, timedelta(seconds=size))
        if count and not rest:
            # A day of an interval has 24 hours, also when the clock is changed in it.
            if unit == "day":
                return "every 24 hours" if count == 1 else f"every {count} days of 24 hours"
            return _every(count, unit)
    seconds = every.total_seconds()
    return _every(int(seconds), "second") if seconds == int(seconds) else f"every {seconds:g} seconds"


def _clock(pattern: Pattern) -> str:
    hours, minutes, seconds = pattern.hours, pattern.minutes, pattern.seconds
    if len(seconds) == 1 and len(hours) < 24 and pattern.a_day <= _MOST_TIMES:
        return "at " + _joined([_time(hour, minute, seconds[0]) for hour in hours for minute in minutes])
    if len(seconds) == len(minutes) == 1 and len(hours) < 24 and _step(hours, 24):
        return f"every {_step(hours, 24)} hours from {_time(hours[0], minutes[0], seconds[0])}"
    if len(seconds) == len(minutes) == 1 and len(hours) < 24 and _run(hours):
        first, last = (_time(hour, minutes[0], seconds[0]) for hour in (hours[0], hours[-1]))
        return f"every hour from {first} to {last}"
    if seconds == (0,):
        return _of_the_hour(minutes, bare=len(hours) == 24) + _within(hours)
    within = "" if len(minutes) == 60 else f" of {_numbered(minutes, 'minute')}"
    if len(hours) == 24 and within:
        within += " of every hour"
    minutely = " of every minute" if not within and not _step(seconds, 60) else within
    return _at(seconds, "second") + minutely + _within(hours)


def _of_the_hour(minutes: Sequence[int], *, bare: bool) -> str:
    if bare and len(minutes) == 1:
        at = _numbered(minutes, "minute")
        return "every hour, on the hour" if minutes == (0,) else f"every hour at {at}"
    said = _at(minutes, "minute")
    return said if _step(minutes, 60) or not bare else f"{said} of every hour"


def _within(hours: Sequence[int]) -> str:
    if len(hours) == 24:
        return ""
    if _run(hours):
        return f" from {hours[0]:02}:00 to {hours[-1]:02}:59"
    return f" of {_numbered(hours, 'hour')}"


def _at(values: Sequence[int], unit: str) -> str:
    """`every second`, `every 10 seconds` if it comes round evenly, else `at seconds 7 and 9`."""
    step = _step(values, 60)
    return _every(step, unit) if step else f"at {_numbered(values, unit)}"


def _step(values: Sequence[int], size: int) -> int:
    """The even step of values that start at 0 and come round with the next cycle; 0 if they have none."""
    step = size // len(values)
    return step if len(values) > 1 and tuple(values) == tuple(range(0, size, step)) else 0


def _run(hours: Sequence[int]) -> bool:
    """Whether they are several, without one left out."""
    return len(hours) > 1 and hours[-1] - hours[0] == len(hours) - 1


def _days(days: Days) -> str:
    dates, weekdays = _dates(days), _weekdays(days)
    if not days.both:
        return f"{dates} or{weekdays}" if dates and weekdays else ""
    return f"{dates}, but only{weekdays}" if dates and weekdays else dates or weekdays


def _dates(days: Days) -> str:
    """Nothing if any date will do."""
    if len(days.dates) == 31:
        return ""
    parts = [f"the working day nearest to day {day}" for day in sorted(days.nearest)]
    if days.dates:
        parts.append(_numbered(sorted(days.dates), "day"))
    if days.last:
        parts.append("the last day")
    return f" on {_joined(parts)} of the month"


def _weekdays(days: Days) -> str:
    """Nothing if any weekday will do."""
    if len(days.weekdays) == 7:
        return ""
    parts = []
    if days.weekdays:
        # Sunday ends a week, if it does not stand alone with Monday.
        monday_first = sorted((day or 7) for day in days.weekdays)
        parts.append(_listed(monday_first, _weekday, circle=7))
    parts += [f"the {_NTH[n]} {_WEEKDAYS[day]} of the month" for day, n in sorted(days.nth)]
    return f" on {_joined(parts)}"


def _numbered(values: Sequence[int], unit: str) -> str:
    """`minute 5`, `minutes 0 to 4 and 30`."""
    return f"{unit}{'' if len(values) == 1 else 's'} {_listed(values, str)}"


def _listed(values: Sequence[int], name: Callable[[int], str], circle: int = 0) -> str:
    """Values in words, three or more neighbours as `a to b`."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    if circle and len(runs) > 1 and runs[0][0] == 1 and runs[-1][-1] == circle:
        runs = [*runs[1:-1], runs[-1] + runs[0]]
    parts: list[str] = []
    for run in runs:
        parts += [f"{name(run[0])} to {name(run[-1])}"] if len(run) > 2 else [name(value) for value in run]
    return _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _every(count: int, unit: str) -> str:
    return f"every {unit}" if count == 1 else f"every {count} {unit}s"


def _time(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _month(number: int) -> str:
    return _MONTHS[number - 1]


def _weekday(number: int) -> str:
    return _WEEKDAYS[number % 7]
