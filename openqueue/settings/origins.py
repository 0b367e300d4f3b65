"""Which settings are in force, and where each of them stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from openqueue.settings.model import Settings
from openqueue.settings.sources import Environment, Program, Secrets, Source, every_source
from openqueue.settings.values import Address

__all__ = ["Origin", "origins"]


@dataclass(frozen=True, slots=True)
class Origin:
    """A setting: its key, its value in plain JSON, and where it was found.

    source   flag, environment, secret, file, program or default
    place    the flag, the variable, the file with its line; None for a default
    """

    key: str
    value: Any
    source: str
    place: str | None


def origins(settings: Settings, flags: Mapping[str, str]) -> list[Origin]:
    """Each setting with its origin; `flags` names those that were given as flags. Secrets are not masked."""
    sources = every_source(Settings)
    found = []
    for name, field in Settings.model_fields.items():
        key = field.alias or name
        source, place = _origin(key, flags.get(name), sources)
        found.append(Origin(key, _plain(getattr(settings, name)), source, place))
    return found


def _origin(key: str, flag: str | None, sources: tuple[Source, ...]) -> tuple[str, str | None]:
    if flag is not None:
        return "flag", flag
    for source in sources:
        if key in source.given():
            return _KINDS.get(type(source), "file"), source.place(key)
    return "default", None


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return list(value) if isinstance(value, tuple) else value


_KINDS: Mapping[type[Source], str] = {Environment: "environment", Secrets: "secret", Program: "program"}
