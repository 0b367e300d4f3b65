"""How the texts of flags and arguments are read.

Each reader raises InvalidOption, whose sentence names the flag as it was written, quotes what was given and
says what is accepted. What other parts refuse, in the words of their own options, `flags` says in those of
the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from openqueue.durations import parse_age, parse_duration
from openqueue.errors import InvalidOption

__all__ = [
    "EXAMPLE_ID",
    "flags",
    "optional",
    "read_age",
    "read_duration",
    "read_lasting",
    "read_meta",
    "read_moment",
    "read_run_id",
    "read_time",
    "read_whole",
    "read_words",
]

T = TypeVar("T")

EXAMPLE_ID = "01981f00-5a5e-7c6e-9f0a-0123456789ab"
_RUN_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_ZONED = "Write it with its time zone, such as 2026-12-24T18:00+01:00 or 2026-12-24T17:00Z."


@contextmanager
def flags(**words: str) -> Iterator[None]:
    """Within the block, an InvalidOption that names an option of `words` names the flag instead."""
    try:
        yield
    except InvalidOption as error:
        option, _, inside = error.option.partition(".")
        flag = words.get(option.partition("[")[0])
        if flag is None:
            raise
        said = f"{flag}: {error}" if inside else flag + str(error).removeprefix(error.option)
        raise InvalidOption(said, option=flag) from error


def optional(read: Callable[..., T], text: str | None, flag: str, *bounds: int) -> T | None:
    """What `read` makes of a flag; None where it was not given."""
    return None if text is None else read(text, flag, *bounds)


def read_duration(text: str, flag: str) -> timedelta:
    """A length of time."""
    return parse_duration(text, field=flag)


def read_lasting(text: str, flag: str) -> timedelta:
    """A length of time longer than zero."""
    return parse_duration(text, field=flag, allow_zero=False)


def read_age(text: str, flag: str) -> timedelta:
    """How old what is removed must be: a length of time that names its unit."""
    return parse_age(text, field=flag)


def read_whole(text: str, flag: str, least: int, most: int) -> int:
    """A whole number within bounds."""
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text.strip()) or not least <= int(text) <= most:
        raise InvalidOption(f"{flag}: {text!r} is not a whole number from {least} to {most}.", option=flag)
    return int(text)


def read_time(text: str, flag: str) -> datetime:
    """A moment with its time zone: what is stored must not depend on where it was typed."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidOption(f"{flag}: {text!r} is not a time. {_ZONED}", option=flag) from None
    if moment.tzinfo is None:
        raise InvalidOption(f"{flag}: {text!r} has no time zone. {_ZONED}", option=flag)
    return moment


def read_moment(text: str, flag: str) -> datetime:
    """A time to look back to: ISO 8601 (local unless it names a time zone), or how long ago."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = _ago(text, flag)
    try:
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        raise InvalidOption(f"{flag}: {text!r} is too far away.", option=flag) from None


def read_run_id(text: str, flag: str = "ID") -> UUID:
    """The id of a run, whole."""
    if not _RUN_ID.fullmatch(text.strip()):
        raise InvalidOption(
            f"{flag}: {text!r} is not the id of a run. It looks like {EXAMPLE_ID};"
            " `openqueue runs list` shows those that there are.",
            option=flag,
        )
    return UUID(text.strip())


def read_meta(pairs: Iterable[str], flag: str = "--meta") -> dict[str, Any]:
    """`key=value` pairs; a value that is JSON is read as JSON, any other is text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidOption(f"{flag}: {pair!r} is not key=value, such as tenant=42.", option=flag)
        if found.setdefault(key, read := _json_or_text(value)) != read:
            raise InvalidOption(f"{flag}: {key!r} is given twice, with two values.", option=flag)
    return found


def read_words(texts: Iterable[str]) -> tuple[str, ...]:
    """Words given in several options, or in one with commas."""
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _ago(text: str, flag: str) -> datetime:
    try:
        return datetime.now(UTC) - parse_duration(text.strip().removesuffix("ago"), field=flag)
    except (InvalidOption, OverflowError):
        raise InvalidOption(
            f"{flag}: {text!r} is neither a time nor a duration. Write '1h' (or '1h ago'),"
            f" {date.today().isoformat()!r} or '{date.today().isoformat()} 14:30'.",  # noqa: DTZ011  as people write
            option=flag,
        ) from None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def _no_number(name: str) -> NoReturn:
    """NaN and Infinity are Python's words, not JSON's."""
    raise ValueError(name)
