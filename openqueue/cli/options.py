"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption

__all__ = [
    "AsJson",
    "DatabaseUrl",
    "Namespace",
    "RunId",
    "RunIds",
    "Schema",
    "examples",
    "read_meta",
    "read_moment",
    "read_words",
]

_DATABASE = "Database"

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="PostgreSQL, as postgresql://user@host/database. Better in OPENQUEUE_DATABASE_URL:"
        " others can see what a process was started with.",
        rich_help_panel=_DATABASE,
    ),
]
Schema = Annotated[
    str | None,
    typer.Option("--schema", help="The schema with the engine (openqueue).", rich_help_panel=_DATABASE),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", help="Environment or tenant within it (default).", rich_help_panel=_DATABASE),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
RunId = Annotated[UUID, typer.Argument(metavar="ID", help="The run's id.", show_default=False)]
RunIds = Annotated[list[UUID], typer.Argument(metavar="ID...", help="Ids of runs.", show_default=False)]


def examples(*lines: str) -> str:
    """The end of a command's help: what one would type."""
    shown = "\n".join(f"[dim]$[/] {line.replace('[', chr(92) + '[')}" for line in lines)
    return f"[bold]Examples[/]\n{shown}"


def read_meta(pairs: Iterable[str], option: str = "--meta") -> dict[str, Any]:
    """`key=value` pairs; a value that is JSON is read as JSON, any other is text. Raises InvalidOption."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidOption(f"{option}: {pair!r} is not key=value, such as tenant=42.", option=option)
        found[key] = _json_or_text(value)
    return found


def read_moment(text: str, option: str) -> datetime:
    """A time: ISO 8601 (local unless it names a time zone), or how long ago. Raises InvalidOption."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = _ago(text, option)
    return moment if moment.tzinfo else moment.astimezone()


def read_words(texts: Iterable[str]) -> tuple[str, ...]:
    """Words given in several options, or in one with commas."""
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _ago(text: str, option: str) -> datetime:
    try:
        return datetime.now(UTC) - parse_duration(text, field=option)
    except InvalidOption:
        raise InvalidOption(
            f"{option}: {text!r} is neither a time nor a duration. Write '1h' (an hour ago),"
            f" {date.today().isoformat()!r} or '{date.today().isoformat()} 14:30'.",  # noqa: DTZ011  as people write
            option=option,
        ) from None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
