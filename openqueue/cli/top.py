"""`openqueue top`: queues, workers, rates and failures, as they are now."""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from openqueue.cli.completing import complete_queue
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import console, show_json
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.values import read_lasting

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)

_PIPE = (100, 200)
"""Width and height of what is no terminal."""


@group.command("top", epilog=examples("openqueue top", "openqueue top --queue mail", "openqueue top --once"))
def top(
    queue: Annotated[
        str,
        typer.Option(
            "--queue",
            metavar="TEXT",
            help="Only queues with this in their names.",
            autocompletion=complete_queue,
        ),
    ] = "",
    every: Annotated[str, typer.Option(metavar="DURATION", help="Time between looks.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Print one page and exit; so does a pipe.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Show queues, workers, rates and failures, live, until q is pressed.

    Keys: arrows choose a queue, p pauses or resumes it, r retries its failed runs, / filters queues, space
    stands still, q leaves. Rates are of all namespaces of the schema.
    """
    seconds = max(read_lasting(every, "--every").total_seconds(), 0.2)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    if once or as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        run_async(_print_once(settings, queue, as_json=as_json))
        return
    from openqueue.cli.top_screen import show

    run_async(show(settings, queue, seconds))


async def _print_once(settings: Settings, queue: str, *, as_json: bool) -> None:
    from openqueue.cli.top_page import View, page
    from openqueue.cli.top_snapshot import read_snapshot

    async with client(settings) as opened:
        found = await read_snapshot(opened, 3 * settings.heartbeat.total_seconds(), queue)
    if as_json:
        show_json({field.name: getattr(found, field.name) for field in fields(found)})
        return
    to = console()
    width, height = (to.width, to.height) if to.is_terminal else _PIPE
    lines = [line.copy() for line in page(found, View(filter=queue), width, max(height - 1, 10))[:-1]]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    for line in lines:
        to.print(line, no_wrap=True, crop=False, soft_wrap=True)
