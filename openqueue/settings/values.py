"""How each kind of setting is read, from TOML's types or from the text of a variable.

Every reader raises ValueError with a sentence that quotes the value (unless it is a secret) and says what
is allowed; `model` puts the place and the key in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import SecretStr

from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption, did_you_mean, shown

__all__ = [
    "HEALTH",
    "Address",
    "choice",
    "duration",
    "read_address",
    "read_flag",
    "read_names",
    "read_queues",
    "read_size",
    "read_text",
    "read_url",
    "whole",
]


class Address(NamedTuple):
    """Where something listens; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


HEALTH = Address("127.0.0.1", 9464)
"""Where health is served when it is only said that it should be."""

_ADDRESS = re.compile(r"(?:(?P<host>[^][\s:/@]*|\[[0-9A-Fa-f:.%\w]+\]):)?(?P<port>[0-9]{1,5})")
_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "KIB": 1024, "MIB": 1024**2, "K": 1024, "M": 1024**2}
_QUEUE = "Write a queue as 'mail', or 'mail:5' for at most 5 of its runs at a time."


def read_url(value: Any) -> Any:
    """A PostgreSQL URL. What is wrong with it is said without quoting it."""
    secret = value.get_secret_value() if isinstance(value, SecretStr) else value
    how = "Write postgresql://user:password@host:5432/database."
    if not isinstance(secret, str):
        raise ValueError(f"must be text. {how}")  # noqa: TRY004  pydantic collects ValueErrors only
    scheme, found, _ = secret.strip().partition("://")
    if not found:
        raise ValueError(f"is not a URL. {how}")
    if scheme not in ("postgresql", "postgres"):
        raise ValueError(f"begins with {scheme[:20] + '://'!r}. {how}")
    return SecretStr(secret.strip())


def read_text(value: Any) -> Any:
    """A name: text that is not empty and has no NUL."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{shown(value)} is not a name. Write text that is not empty.")
    return value


def read_names(value: Any) -> Any:
    """Several names: a list, or text with commas in between."""
    names = value.split(",") if isinstance(value, str) else value
    if not _is_list_of(str, names):
        raise ValueError(f"{shown(value)} is not a list of names. Write them in a list, or with commas.")
    return tuple(name.strip() for name in names if name.strip())


def read_queues(value: Any) -> Any:
    """Queues with their bounds: `mail:5,reports`, a list of such, or a table."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {_queue_name(name): _queue_bound(name, bound) for name, bound in value.items()}
    given = [value] if isinstance(value, str) else value
    if not _is_list_of(str, given):
        raise ValueError(f"{shown(value)} does not name queues. {_QUEUE}")
    names = [name.strip() for one in given for name in one.split(",") if name.strip()]
    if given and not names:  # an unset shell variable must not come to mean every queue
        raise ValueError(f"{shown(value)} names no queue. {_QUEUE} Leave it out to work on every queue.")
    queues = dict(_queue(name) for name in names)
    if len(queues) < len(names):
        raise ValueError(f"{shown(value)} names a queue twice. {_QUEUE}")
    return queues or None


def read_address(value: Any) -> Any:
    """`host:port`, a port alone, `on` for the usual one, or `off`."""
    if isinstance(value, Address) or value is None:
        return value
    if value is False or value == "off":
        return None
    if value is True or value == "on":
        return HEALTH
    found = _ADDRESS.fullmatch(str(value)) if isinstance(value, str | int) else None
    if not found or int(found["port"]) > 65535:
        raise ValueError(
            f"{shown(value)} is not an address. Write host:port (such as {HEALTH}), a port alone, on or off."
        )
    return Address((found["host"] or "").strip("[]") or HEALTH.host, int(found["port"]))


def read_flag(value: Any) -> Any:
    """On or off, as a bool or in a word."""
    word = value.strip().lower() if isinstance(value, str) else value
    found = {
        "on": True,
        "true": True,
        "1": True,
        "yes": True,
        "off": False,
        "false": False,
        "0": False,
        "no": False,
    }
    if isinstance(word, bool):
        return word
    if not isinstance(word, str) or word not in found:
        raise ValueError(f"{shown(value)} is neither on nor off.")
    return found[word]


def read_size(value: Any) -> Any:
    """A number of bytes, also as `512KiB` or `1MiB`."""
    found = re.fullmatch(r"([0-9]+)\s*([A-Za-z]*)", _text(value))
    unit = _UNITS.get(found[2].upper()) if found else None
    size = int(found[1]) * unit if found and unit else 0
    if not 1024 <= size <= 64 * 1024**2:
        raise ValueError(f"{shown(value)} is not a size from 1KiB to 64MiB. Write '512KiB', '1MiB' or bytes.")
    return size


def whole(least: int, most: int) -> Callable[[Any], Any]:
    """A whole number within bounds, also as text."""

    def read(value: Any) -> Any:
        text = _text(value)
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"{shown(value)} is not a whole number from {least} to {most}.")
        return int(text)

    return read


def duration(*, allow_zero: bool = True) -> Callable[[Any], timedelta]:
    """A length of time; numbers are seconds."""

    def read(value: Any) -> timedelta:
        try:
            return parse_duration(value, field="duration", allow_zero=allow_zero)
        except InvalidOption as error:
            raise ValueError(str(error).removeprefix("duration: ")) from None

    return read


def choice(*words: str) -> Callable[[Any], Any]:
    """One of several words, whatever their case."""

    def read(value: Any) -> Any:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in words:
            raise ValueError(f"{shown(value)} is not one of {', '.join(words)}.{did_you_mean(word, words)}")
        return word

    return read


def _queue(text: str) -> tuple[str, int | None]:
    name, colon, bound = text.rpartition(":") if re.search(r":[^:]*$", text) else (text, "", "")
    return _queue_name(name), _queue_bound(text, bound if colon else None)


def _queue_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError(f"{shown(name)} is not the name of a queue. {_QUEUE}")
    return name.strip()


def _queue_bound(name: Any, bound: Any) -> int | None:
    if bound is None:
        return None
    try:
        found: int = whole(1, 100_000)(bound)
    except ValueError:
        raise ValueError(f"{shown(name)}: {shown(bound)} is not a bound from 1 to 100000. {_QUEUE}") from None
    return found


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, Iterable) and all(isinstance(one, kind) for one in value)


def _text(value: Any) -> str:
    """A number, or its text; nothing for all else."""
    known = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value).strip()[:40] if known and not _is_huge(value) else ""


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > 10**30
