"""The list of commands, of which only the one that is called is imported.

A list of commands needs no more of each than a line, so that `openqueue --help` is quick.
"""

from __future__ import annotations

from importlib import import_module
from inspect import cleandoc
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

__all__ = ["COMMANDS", "Commands", "placeholders"]

COMMANDS: Final = {
    "dev": "Start PostgreSQL, migrate, and run a worker that follows your changes.",
    "worker": "Run tasks until told to stop.",
    "migrate": "Create the schema, or bring it up to date.",
    "enqueue": "Enqueue a run of a task and print its id.",
    "runs": "Look at runs, and act on them: list, show, watch, cancel, retry.",
    "audit": "List what was done to runs by hand: who, what, when, why.",
    "schedule": "Run tasks at times: add, list, show, next, pause, trigger, backfill …",
    "queues": "List the queues: how much waits, and for how long. Show, limit, pause and resume one.",
    "tasks": "List the tasks that workers have published. Show, limit, pause and resume one.",
    "keys": "List the concurrency keys in use. Show and limit one.",
    "workers": "List the workers: state, load, queues, last heartbeat, what they run and what they take.",
    "top": "Show queues, workers, rates and failures, live, until q is pressed.",
    "doctor": "Look at everything; say what is wrong, why it matters, and what mends it.",
    "health": "Say whether all is well, by the exit code too.",
    "metrics": "List what /metrics has, or print a dashboard for Grafana.",
    "config": "Show which settings are in force, and where each comes from.",
    "bench": "Measure openqueue on this machine and your database.",
    "completion": "Print the script by which Tab completes commands, tasks and queues in a shell.",
    "demo": "Show what openqueue does, on the files of a directory.",
}
"""Each is a module of this package with a `group`; the line is the first of its help."""


class Commands(TyperGroup):
    """A group whose commands are placeholders, replaced by the real ones when one is asked for."""

    _listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command's module, unless it is only to be listed."""
        placeholder = super().get_command(ctx, cmd_name)
        if placeholder is None or self._listing:
            return placeholder
        command = get_command(import_module(f"openqueue.cli.{cmd_name}").group)
        command.name = cmd_name
        _let_flow(command)
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands by their lines."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


def placeholders(app: typer.Typer) -> None:
    """Add a line for each command."""
    for name, line in COMMANDS.items():
        app.command(name, help=line)(_placeholder)


def _let_flow(command: Any) -> None:
    """Join the lines of each paragraph of its help, and of those below it: the terminal breaks them."""
    paragraphs = cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(one.splitlines()) for one in paragraphs)
    for below in getattr(command, "commands", {}).values():
        _let_flow(below)


def _placeholder() -> None:
    """Never called: `Commands` puts the real command in its place."""
