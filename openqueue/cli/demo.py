"""`openqueue demo`: a tour on real files that leaves nothing behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openqueue.cli.options import examples
from openqueue.cli.output import Column, heading, show_table
from openqueue.cli.session import run_async
from openqueue.cli.timeline import show_timeline
from openqueue.errors import InvalidOption

if TYPE_CHECKING:
    from openqueue.dev.demo import Tour

__all__ = ["group"]

group = typer.Typer(add_completion=False)


@group.command("demo", epilog=examples("openqueue demo", "openqueue demo ~/projects/shop"))
def demo(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIRECTORY", help="Whose files are indexed; by default Python's own.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what openqueue does, on the files of a directory.

    Starts a PostgreSQL in a temporary directory, runs one task for each file (up to 2,000), one that fails
    and is retried, one that is delayed and one that is cancelled. Nothing is left behind.
    """
    import sysconfig

    chosen = directory or Path(sysconfig.get_path("stdlib"))
    if not chosen.is_dir():
        raise InvalidOption(f"DIRECTORY: {str(chosen)!r} is not a directory.", option="directory")
    from openqueue.dev.demo import files_below, tour
    from openqueue.dev.embedded import EmbeddedPostgres

    files = list(files_below(chosen))
    begin = time.perf_counter()
    with EmbeddedPostgres.temporary() as server:
        _tell(f"PostgreSQL runs, in a temporary directory: {time.perf_counter() - begin:.1f} s.")
        seen = run_async(tour(server.dsn(), files, _tell))
        _show(seen, chosen)
    _tell("Everything is stopped and removed. Your turn: openqueue dev")


def _tell(sentence: str) -> None:
    print(f"• {sentence}", flush=True)


def _show(seen: Tour, directory: Path) -> None:
    heading(f"Files of {directory}")
    most = seen.kinds.most_common(8)
    columns: tuple[Column[tuple[str, int]], ...] = (
        Column("  KIND", lambda one: f"  {one[0]}"),
        Column("FILES", lambda one: f"{one[1]:,}", right=True),
        Column("LINES", lambda one: f"{seen.lines[one[0]]:,}", right=True),
    )
    show_table(most, columns, empty="  There are none.")
    heading(f"Timeline of the run that failed twice ({seen.failed_first.id})")
    show_timeline(seen.timeline)
    files = seen.kinds.total()
    print(f"\n{files:,} runs in {seen.seconds:.2f} s: {files / seen.seconds:,.0f} a second.\n")
