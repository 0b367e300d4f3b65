"""The command `openqueue`: its groups, and what is said when something goes wrong."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from openqueue.cli import dev, enqueue, health, migrate, runs, tasks, worker, workers
from openqueue.cli.exits import EXITS, INTERRUPTED, exit_code
from openqueue.cli.output import say
from openqueue.errors import OpenQueueError

__all__ = ["app", "main"]

app = typer.Typer(
    name="openqueue",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="[bold]Start with[/]  openqueue dev\n[bold]Exit codes[/]  "
    + " · ".join(f"{one.code}={one.name}" for one in EXITS),
)
for module in (dev, worker, migrate, enqueue):
    app.add_typer(module.group)
app.add_typer(runs.group, name="runs")
for module in (tasks, workers, health):
    app.add_typer(module.group)


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


def main() -> None:
    """Run the command line and end the process with one of the codes in `exits`."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by something that has no encoding
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(prog_name="openqueue")
    except (OpenQueueError, TimeoutError) as error:
        if os.environ.get("OPENQUEUE_DEBUG"):
            raise
        say(f"Error: {error}")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read us has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  so that nothing is flushed into the pipe at exit
        sys.exit(0)


if __name__ == "__main__":
    main()
