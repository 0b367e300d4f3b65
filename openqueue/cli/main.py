"""The command `openqueue`, and what is said when something goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated

import typer

from openqueue.cli.commands import Commands, placeholders
from openqueue.cli.exits import EXITS, INTERRUPTED, exit_code
from openqueue.cli.output import say
from openqueue.cli.pipes import ending_with_the_reader
from openqueue.cli.streams import open_missing_streams
from openqueue.errors import OpenQueueError

__all__ = ["app", "ending", "main"]

app = typer.Typer(
    name="openqueue",
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="[bold]Start with[/]  openqueue dev\n[bold]Exit codes[/]  "
    + " · ".join(f"{one.code}={one.name}" for one in EXITS),
)
placeholders(app)


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line (that of the process) and end the process with one of the codes in `exits`."""
    ending(lambda: app(arguments, prog_name="openqueue"), _say_errors)


def ending(act: Callable[[], object], tell: Callable[[Sequence[Exception]], None]) -> None:
    """Do it; should it fail in a way that needs no traceback, `tell` what it was and exit with its code."""
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by something that has no encoding
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if "_OPENQUEUE_COMPLETE" in os.environ:  # a shell asks; see cli/completion.py
        from typer._completion_classes import completion_init

        completion_init()
    try:
        with ending_with_the_reader():
            act()
    except (OpenQueueError, TimeoutError, ExceptionGroup) as error:
        ours = _ours(error)
        if ours:
            tell(ours)
        if not ours or os.environ.get("OPENQUEUE_DEBUG"):
            raise
        sys.exit(exit_code(ours[0]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _say_errors(errors: Sequence[Exception]) -> None:
    if not os.environ.get("OPENQUEUE_DEBUG"):  # the traceback says it
        for one in errors:
            say(f"Error: {one}")


def _ours(error: Exception) -> list[Exception]:
    """The errors that need no traceback; none if there is any other among them."""
    if not isinstance(error, ExceptionGroup):
        return [error] if isinstance(error, OpenQueueError | TimeoutError) else []
    found = [_ours(one) for one in error.exceptions]
    return [one for some in found for one in some] if all(found) else []


if __name__ == "__main__":
    main()
