"""How the setting `retention` is read: what is kept how long, as a table of TOML or as JSON in a variable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from openqueue.durations import format_duration, parse_age
from openqueue.errors import InvalidOption, did_you_mean

__all__ = ["FOREVER", "read_retention"]

FOREVER: Final = "forever"
_STATUSES: Final = ("completed", "failed", "cancelled", "expired")
_AGES: Final = ("all", *_STATUSES, "ticks")
_TABLES: Final = ("queues", "tasks")
_HOW: Final = 'Write a table: [retention] with all = "90d" and failed = "365d", for example.'


def read_retention(value: Any) -> Any:
    """all, a status, ticks: an age or `forever`; queues, tasks: ages by name; whole_months: true or false."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f'{value[:60]!r} is not JSON such as {{"all": "90d"}}.') from None
    if not isinstance(value, Mapping):
        raise ValueError(f"is not a table. {_HOW}")  # noqa: TRY004  pydantic collects ValueErrors only
    return {str(key): _read(str(key), said) for key, said in value.items()}


def _read(key: str, said: Any) -> Any:
    if key in _AGES:
        return _age(key, said)
    if key in _TABLES:
        if not isinstance(said, Mapping):
            raise ValueError(f"{key}: {said!r} is not a table of names.")
        return {_name(key, name): _age(f"{key}.{name}", age) for name, age in said.items()}
    if key == "whole_months":
        if not isinstance(said, bool):
            raise ValueError(f"{key}: {said!r} is neither true nor false.")
        return said
    known = (*_AGES, *_TABLES, "whole_months")
    near = did_you_mean(key, known) or f" There are: {', '.join(known)}."
    raise ValueError(f"{key}: nothing is kept by that name.{near}")


def _name(table: str, name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or "\0" in name:
        raise ValueError(f"{table}: {name!r} is not a name. {_HOW}")
    return name


def _age(key: str, value: Any) -> str:
    if value == FOREVER:
        return FOREVER
    try:
        return format_duration(parse_age(value, field=key))
    except InvalidOption as error:
        raise ValueError(f"{error} {FOREVER!r} keeps all of it.") from None
