"""How the texts of the flags of a schedule are read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from openqueue.cli.values import read_duration, read_lasting, read_meta, read_time, read_whole
from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption

__all__ = ["FLAGS", "Words", "read_edge", "read_until", "read_words_of"]

FLAGS: Final = {
    "key": "KEY",
    "task": "TASK",
    "cron": "--cron",
    "every": "--every",
    "timezone": "--timezone",
    "start_at": "--start",
    "end_at": "--end",
    "max_runs": "--max-runs",
    "catch_up": "--catch-up",
    "overlap": "--overlap",
    "jitter": "--jitter",
    "queue": "--queue",
    "priority": "--priority",
    "max_attempts": "--max-attempts",
    "deadline": "--deadline",
    "meta": "--meta",
    "tags": "--tag",
    "concurrency_key": "--concurrency-key",
    "until": "--until",
    "reason": "--reason",
    "start": "--from",
    "end": "--to",
    "limit": "--limit",
    "rate": "--rate",
}
"""What the command line calls the options of a schedule."""


class Words(NamedTuple):
    """What was given: when it is due, and what its runs are."""

    rule: tuple[str | None, ...]
    runs: tuple[Any, ...]


def read_words_of(given: Words, *, none: bool = False) -> dict[str, Any]:
    """The options that were given, read; with `none` that word stands for the default (None)."""
    found: dict[str, Any] = {}
    for option, text in zip(_READ, (*given.rule, *given.runs), strict=True):
        if text in (None, [], ()):
            continue
        is_none = none and text in ("none", ["none"])
        found[option] = None if is_none else _READ[option](text, FLAGS[option])
    return found


def read_until(text: str, flag: str) -> datetime | timedelta:
    """A moment to come: how long from now, `tomorrow`, a day or a time (of the reader's clock)."""
    word = text.strip().lower()
    if word == "tomorrow":
        return datetime.combine(datetime.now().astimezone().date() + timedelta(days=1), time()).astimezone()
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        pass
    else:
        return moment if moment.tzinfo else moment.astimezone()
    try:
        return parse_duration(text, field=flag, allow_zero=False)
    except InvalidOption:
        raise InvalidOption(
            f"{flag}: {text!r} is neither a time nor a duration. Write '2h', 'tomorrow', '2026-12-24 18:00'.",
            option=flag,
        ) from None


def read_edge(text: str, flag: str, zone: tzinfo, now: datetime, *, last: bool = False) -> datetime:
    """An end of a range: a time or a day of `zone`, or `now`; with `last`, a day means its end."""
    word = text.strip()
    try:
        day = date.fromisoformat(word)
    except ValueError:
        pass
    else:
        begin = datetime.combine(day, time(), zone)
        return datetime.combine(day, time.max, zone) if last else begin
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        if word == "now":
            return now
        raise InvalidOption(
            f"{flag}: {text!r} is not a time. Write a day, such as 2026-11-01, or 2026-11-01T14:30, or now.",
            option=flag,
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _as_it_is(value: Any, _: str) -> Any:
    return value


def _whole(least: int, most: int) -> Callable[[str, str], int]:
    return lambda text, flag: read_whole(text, flag, least, most)


_READ: Final[dict[str, Callable[[Any, str], Any]]] = {
    "cron": _as_it_is,
    "every": read_lasting,
    "timezone": _as_it_is,
    "start_at": read_time,
    "end_at": read_time,
    "max_runs": _whole(1, 999_999_999),
    "catch_up": _whole(0, 1_000),
    "overlap": _as_it_is,
    "jitter": read_duration,
    "queue": _as_it_is,
    "priority": _whole(-32768, 32767),
    "max_attempts": _whole(1, 32767),
    "deadline": read_lasting,
    "meta": read_meta,
    "tags": _as_it_is,
    "concurrency_key": _as_it_is,
}
