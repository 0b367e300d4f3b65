"""Names and values written into SQL text: the schema's name, which no parameter can carry."""

from __future__ import annotations

from openqueue.errors import ConfigError

__all__ = ["check_schema", "quote_ident", "quote_literal"]

LONGEST_NAME = 63
"""Bytes of UTF-8 that PostgreSQL keeps of a name; it cuts off the rest without a word."""


def check_schema(name: object) -> str:
    """Return the schema's name if PostgreSQL can have a schema of exactly this name.

    Any text will do (spaces, quotes, keywords, any script) of 1 to 63 bytes without NUL, except what
    PostgreSQL keeps for itself. Raises ConfigError, naming the field `schema`.
    """
    if not isinstance(name, str):
        raise _refuse(name, f"must be text, not {type(name).__name__}")
    if not name:
        raise _refuse(name, "is empty")
    if "\0" in name:
        raise _refuse(name, "contains a NUL character")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise _refuse(name, "contains half a surrogate pair, which is not a character") from None
    if size > LONGEST_NAME:
        raise _refuse(name, f"has {size} bytes, and PostgreSQL keeps {LONGEST_NAME} of a name")
    if name.startswith("pg_") or name == "information_schema":
        raise _refuse(name, "is reserved for PostgreSQL itself")
    return name


def quote_ident(name: str) -> str:
    """Write a name so that SQL reads it as it is: always in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: object) -> str:
    """Write a value as an SQL literal of unknown type; None is null."""
    if value is None:
        return "NULL"
    text = str(value).replace("'", "''")
    return f"E'{text.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{text}'"


def _refuse(name: object, problem: str) -> ConfigError:
    return ConfigError(f"schema: {name!r} {problem}. Choose another name, such as 'openqueue'.")
