"""The command `openqueue`: its groups, and what happens when something goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer

from openqueue.cli import demo, dev, enqueue, health, migrate, runs, tasks, worker, workers
from openqueue.cli.exits import EXITS, INTERRUPTED, exit_code, say
from openqueue.errors import OpenQueueError

__all__ = ["app", "main"]

app = typer.Typer(
    name="openqueue",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Durable background work for Python on nothing but PostgreSQL.",
    epilog="Start with: openqueue dev\n\n\n\nExit codes: "
    + " · ".join(f"{one.code} {one.name}" for one in EXITS),
)


def _version(wanted: bool) -> None:
    if wanted:
        from openqueue import __version__

        print(f"openqueue {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Durable background work for Python on nothing but PostgreSQL."""


def _add(group: typer.Typer, name: str, command: Callable[..., Any], *examples: str, **more: Any) -> None:
    """Add a command, with its examples below its help."""
    shown = "\n\n".join(f"[bold]$[/] {one}" for one in examples)
    group.command(name, epilog=f"[dim]Examples[/]\n\n{shown}", **more)(command)
