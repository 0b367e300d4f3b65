"""What the values of options must be: each check returns the value in one form or names the option."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from openqueue.codec import encode
from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption, NotSerializable, did_you_mean, shown
from openqueue.tasks.habits import called_here

__all__ = [
    "LONGEST_TEXT",
    "check_bool",
    "check_choice",
    "check_exceptions",
    "check_known",
    "check_lasting",
    "check_moment",
    "check_object",
    "check_text",
    "check_texts",
    "check_uuid",
    "check_whole",
    "checked",
]

LONGEST_TEXT = 200
"""The most characters a name, a queue, a key or a tag may have."""


def check_text(value: Any, option: str) -> str:
    """A name, queue, key or tag: text, not empty, at most 200 characters, none of them a control one."""
    if not isinstance(value, str):
        raise _refuse(option, value, "must be a text")
    if not value.strip():
        raise _refuse(option, value, "must not be empty")
    if len(value) > LONGEST_TEXT:
        raise _refuse(option, value, f"has {len(value)} characters, at most {LONGEST_TEXT} are allowed")
    if not value.isprintable() and any(_is_control(character) for character in value):
        raise _refuse(option, value, "contains a control character (such as NUL, a tab or a line end)")
    return value


def check_texts(value: Any, option: str) -> tuple[str, ...]:
    """Tags or aliases: a list, tuple or set of texts; repeated ones are kept once, in order."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _refuse(option, value, f"must be a list of texts, such as [{shown(value)}]")
    each = sorted(value, key=shown) if isinstance(value, set | frozenset) else value
    return tuple(dict.fromkeys(check_text(one, f"{option}[{i}]") for i, one in enumerate(each)))


def check_whole(lowest: int, highest: int) -> Callable[[Any, str], int]:
    """A check for a whole number from `lowest` to `highest`."""

    def check(value: Any, option: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _refuse(option, value, "must be a whole number")
        if not lowest <= value <= highest:
            raise _refuse(option, value, f"is out of range: {lowest} to {highest}")
        return int(value)

    return check


def check_bool(value: Any, option: str) -> bool:
    """True or False and nothing that is merely like it."""
    if not isinstance(value, bool):
        raise _refuse(option, value, "must be True or False")
    return value


def checked(given: Mapping[str, Any], checks: Mapping[str, Callable[[Any, str], Any]]) -> dict[str, Any]:
    """The options that were given (not None), each checked and in its one form."""
    return {option: checks[option](value, option) for option, value in given.items() if value is not None}


def check_choice(*choices: str) -> Callable[[Any, str], str]:
    """A check for one of a few words."""

    def check(value: Any, option: str) -> str:
        if value not in choices:
            allowed = " or ".join(repr(choice) for choice in choices)
            raise _refuse(option, value, f"must be {allowed}")
        return str(value)

    return check


def check_lasting(value: Any, option: str) -> timedelta:
    """A duration longer than zero."""
    return parse_duration(value, field=option, allow_zero=False)


def check_moment(value: Any, option: str) -> datetime:
    """A moment with its time zone: an aware datetime, or ISO 8601 text with an offset."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _refuse(option, value, "is not a moment such as '2026-12-24T18:00:00+01:00'") from None
    if not isinstance(value, datetime):
        raise _refuse(option, value, "must be a datetime")
    if value.utcoffset() is None:
        raise _refuse(option, value, "has no time zone: use datetime.now(timezone.utc) or astimezone()")
    return value


def check_object(value: Any, option: str) -> dict[str, Any]:
    """A JSON object: a dict with text keys, of values that can be stored."""
    if not isinstance(value, Mapping):
        raise _refuse(option, value, "must be a dict")
    for key in value:
        if not isinstance(key, str):
            raise InvalidOption(f"{option}: the key {key!r} must be a text.", option=option)
    try:
        encode(value, what=option)
    except NotSerializable as error:
        raise InvalidOption(str(error), option=error.path) from None
    return dict(value)


def check_uuid(value: Any, option: str) -> UUID:
    """A UUID, or its text."""
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise _refuse(option, value, "must be a UUID") from None


def check_exceptions(value: Any, option: str) -> tuple[type[BaseException], ...]:
    """One exception class or several."""
    classes = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise _refuse(option, one, "must be an exception class, or a tuple of them")
    return classes


def check_known(given: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse option names that do not exist."""
    for option in given:
        if option in known:
            continue
        nearest = (
            called_here(option, known)
            or did_you_mean(option, known)
            or f" There are: {', '.join(sorted(known))}."
        )
        raise InvalidOption(f"{option}: {where} has no such option.{nearest}", option=option)


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"


def _refuse(option: str, value: object, why: str) -> InvalidOption:
    return InvalidOption(f"{option}: {shown(value)} {why}.", option=option)
