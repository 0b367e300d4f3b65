"""Options that several commands share. How their texts are read is in `values`."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "DATABASE_FLAGS",
    "AsJson",
    "DatabaseUrl",
    "Namespace",
    "RunId",
    "Schema",
    "examples",
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
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id.", show_default=False)]


DATABASE_FLAGS = {"database_url": "database_url", "schema": "schema_name", "namespace": "namespace"}
"""The settings that the parameters of these names give."""


def examples(*lines: str) -> str:
    """The end of a command's help: what one would type."""
    shown = "\n".join(f"[dim]$[/] {line.replace('[', chr(92) + '[')}" for line in lines)
    return f"[bold]Examples[/]\n{shown}"
