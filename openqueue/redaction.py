"""What must not be printed as it is: secrets, and characters that command a terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["MASK", "masked", "masked_text", "printable", "without_passwords"]

MASK = "***"

_SECRET_KEY = re.compile(
    r"passw(or)?d|passphrase|secret|token|api_?key|private_?key|authori[sz]ation|cookie|dsn|database_url",
    re.IGNORECASE,
)
_EXAMPLE = "password@host:5432/database"
"""How our own messages end a URL that is to be filled in: no secret, and of no use with stars."""

_IN_URL = re.compile(
    rf"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@?#]*:)(?!{_EXAMPLE}(?![^\s.,]))(?P<secret>\S*)(?=@)",
    re.IGNORECASE,
)
_IN_PAIR = re.compile(
    r"(?P<before>\b(?:pg)?(?:password|passwd|passphrase|secret|token|api_?key)\s*[=:]\s*)"
    r"(?P<quote>[\"']?)[^\s\"'&;,]+",
    re.IGNORECASE,
)
_DEEPEST = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def masked_text(text: str) -> str:
    """The text without the passwords of URLs (`scheme://user:password@host`) and of `password=…` pairs."""
    text = without_passwords(text)
    return _IN_PAIR.sub(rf"\g<before>\g<quote>{MASK}", text) if "=" in text or ":" in text else text


def without_passwords(text: str) -> str:
    """The text without the passwords of URLs; other words stay: an error may be about a token."""
    return _IN_URL.sub(rf"\g<before>{MASK}", text) if "://" in text else text


def masked(value: Any, depth: int = 0) -> Any:
    """The value with every text masked, and everything under a key that names a secret; to eight levels."""
    if isinstance(value, str):
        return masked_text(value)
    if depth >= _DEEPEST:
        return "…" if isinstance(value, Mapping | list | tuple) else value
    if isinstance(value, Mapping):
        return {
            key: MASK if one and _SECRET_KEY.search(str(key)) else masked(one, depth + 1)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(one, depth + 1) for one in value]
    return value


def printable(text: str, *, keep: str = "") -> str:
    """The text with control characters written as escapes, but for those in `keep`."""

    def escaped(found: re.Match[str]) -> str:
        character = found[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return _CONTROL.sub(escaped, text)
