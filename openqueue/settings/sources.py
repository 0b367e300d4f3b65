"""Where settings come from, each able to say where exactly a value stands."""

from __future__ import annotations

import os
import re
import tomllib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from openqueue.errors import ConfigError, did_you_mean
from openqueue.lazy import lazy

__all__ = ["PREFIX", "Source", "every_source", "set_program_settings", "unknown_variables"]

PREFIX = "OPENQUEUE_"
_ELSEWHERE = frozenset(PREFIX + word for word in ("CONFIG", "SECRETS_DIR", "DEBUG", "PG_BIN"))
_PATHS = ("dirs",)


class Source(PydanticBaseSettingsSource):
    """A place with settings. A key that an earlier source gave is left out, so that nothing is merged."""

    def __call__(self) -> dict[str, Any]:
        return {key: value for key, value in self.given().items() if key not in self.current_state}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        key = field.alias or field_name
        return self.given().get(key), key, False

    @abstractmethod
    def given(self) -> Mapping[str, Any]:
        """What stands here, by key."""

    @abstractmethod
    def place(self, key: str) -> str:
        """Where the key stands, as messages name it."""

    @lazy
    def keys(self) -> tuple[str, ...]:
        """Every key there is."""
        return tuple(field.alias or name for name, field in self.settings_cls.model_fields.items())


class Environment(Source):
    """Variables named like the keys: `OPENQUEUE_DATABASE_URL`. An empty one is as if it were not there."""

    def given(self) -> Mapping[str, Any]:
        found = {key: os.environ.get(self.place(key)) for key in self.keys}
        return {key: value for key, value in found.items() if value}

    def place(self, key: str) -> str:
        return PREFIX + key.upper()


class Secrets(Source):
    """A directory with a file for each setting, as containers mount secrets."""

    def given(self) -> Mapping[str, Any]:
        directory = os.environ.get(PREFIX + "SECRETS_DIR")
        if not directory:
            return {}
        if not Path(directory).is_dir():
            raise ConfigError(
                f"{PREFIX}SECRETS_DIR: there is no directory {directory!r}. Correct or unset it."
            )
        return {key: _read_text(file).strip() for key in self.keys if (file := self._file(directory, key))}

    def place(self, key: str) -> str:
        return str(self._file(os.environ.get(PREFIX + "SECRETS_DIR", ""), key))

    def _file(self, directory: str, key: str) -> Path | None:
        names = (PREFIX + key.upper(), PREFIX.lower() + key, key)
        return next((file for name in names if (file := Path(directory, name)).is_file()), None)


class SettingsFile(Source):
    """A TOML file, or a table of one. A key we do not know is refused."""

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        file: Path,
        *,
        table: tuple[str, ...] = (),
        required: bool = False,
    ) -> None:
        super().__init__(settings_cls)
        self._file = file
        self._table = table
        self._required = required

    def given(self) -> Mapping[str, Any]:
        return self._given

    def place(self, key: str) -> str:
        line = _line_of(key, self._text or "", after=self._table)
        table = f" [{'.'.join(self._table)}]" if self._table else ""
        return f"{self._file}{f', line {line}' if line else ''}{table}"

    @lazy
    def _text(self) -> str | None:
        if not self._file.is_file():
            if self._required:
                raise ConfigError(
                    f"{PREFIX}CONFIG: there is no file {str(self._file)!r}. Correct or unset it."
                )
            return None
        return _read_text(self._file)

    @lazy
    def _given(self) -> Mapping[str, Any]:
        found = self._parsed()
        for key in found:
            if key not in self.keys:
                raise ConfigError(f"{self.place(key)}: there is no setting {key!r}.{self._hint(key)}")
        return {key: self._from_here(value) if key in _PATHS else value for key, value in found.items()}

    def _parsed(self) -> Mapping[str, Any]:
        try:
            found: Any = tomllib.loads(self._text or "")
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(
                f'{self._file}: is not TOML: {error}. Text goes in quotes, such as grace = "30s".'
            ) from None
        for step in self._table:
            found = found.get(step, {}) if isinstance(found, dict) else {}
        if not isinstance(found, dict):
            raise ConfigError(f"{self._file}: [{'.'.join(self._table)}] must be a table.")
        return found

    def _hint(self, key: str) -> str:
        if key in ("tool", "openqueue"):
            return " This file has no tables: write the settings at its top."
        return did_you_mean(key, self.keys) or f" There are: {', '.join(self.keys)}."

    def _from_here(self, value: Any) -> Any:
        """Paths in a file elsewhere are relative to that file."""
        parent = self._file.parent
        if parent == Path() or not isinstance(value, list):
            return value
        return [str(parent / one) if isinstance(one, str) else one for one in value]


class Program(Source):
    """What the program around us says, such as a Django project: asked last, and each time anew."""

    def given(self) -> Mapping[str, Any]:
        return self._given

    def place(self, key: str) -> str:
        return _program[0]

    @lazy
    def _given(self) -> Mapping[str, Any]:
        place, ask = _program
        found = ask()
        for key in found:
            if key not in self.keys:
                raise ConfigError(f"{place}: there is no setting {key!r}.{did_you_mean(key, self.keys)}")
        return found


_program: tuple[str, Callable[[], Mapping[str, Any]]] = ("the program", dict)


def set_program_settings(place: str, ask: Callable[[], Mapping[str, Any]]) -> None:
    """Ask the program too, after everything else; `place` is what errors call it."""
    global _program  # noqa: PLW0603  a process is part of one program
    _program = (place, ask)


def every_source(settings: type[BaseSettings]) -> tuple[Source, ...]:
    """The places besides the flags, first wins."""
    named = os.environ.get(PREFIX + "CONFIG")
    return (
        Environment(settings),
        Secrets(settings),
        SettingsFile(settings, Path(named or "openqueue.toml"), required=bool(named)),
        SettingsFile(settings, Path("pyproject.toml"), table=("tool", "openqueue")),
        Program(settings),
    )


def unknown_variables(settings: type[BaseSettings], names: Iterable[str] | None = None) -> list[str]:
    """A sentence for each variable that begins with `OPENQUEUE_` and sets nothing: most likely a slip."""
    environment = Environment(settings)
    known = {environment.place(key) for key in environment.keys} | _ELSEWHERE
    ours = (name for name in (os.environ if names is None else names) if name.startswith(PREFIX))
    strays = sorted(name for name in ours if name not in known and not name.startswith(f"{PREFIX}TEST_"))
    return [f"{name} is not a setting and is ignored.{did_you_mean(name, known)}" for name in strays]


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}.") from None


def _line_of(key: str, text: str, *, after: tuple[str, ...]) -> int | None:
    """The line where a key stands, as `key = …` or as a table `[key]`; None when it is written otherwise."""
    table = re.escape(".".join(after))
    start = re.search(rf"^\s*\[{table}[.\]]", text, re.MULTILINE) if after else None
    name = rf"""["']?{re.escape(key)}["']?\s*"""
    as_table = rf"\[\s*{table + '[.]' if after else ''}{name}[.\]]"
    found = re.compile(rf"^\s*(?:{name}[.=]|{as_table})", re.MULTILINE).search(
        text, start.start() if start else 0
    )
    return text.count("\n", 0, found.end()) + 1 if found else None
