"""`openqueue runs`: look at runs, and act on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from openqueue.cli.completing import complete_queue, complete_task
from openqueue.cli.options import (
    AsJson,
    DatabaseUrl,
    Namespace,
    RunId,
    Schema,
    examples,
)
from openqueue.cli.run_acting import acting_commands
from openqueue.cli.run_filter import filtered
from openqueue.cli.run_list import print_count, print_runs
from openqueue.cli.run_logs import print_logs
from openqueue.cli.run_page import show_run
from openqueue.cli.run_prune import EXAMPLES, prune
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.values import (
    EXAMPLE_ID,
    flags,
    optional,
    read_meta,
    read_run_id,
    read_whole,
)
from openqueue.cli.watch import watch_many, watch_one
from openqueue.errors import InvalidOption
from openqueue.runs.filter import RunFilter

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["group"]

TaskFilter = Annotated[str | None, typer.Option(help="Only of this task.", autocompletion=complete_task)]
QueueFilter = Annotated[str | None, typer.Option(help="Only of this queue.", autocompletion=complete_queue)]
MetaFilter = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Whose meta has this; may be repeated.")
]
TagFilter = Annotated[
    list[str] | None, typer.Option(metavar="TAG", help="With any of these tags; may be repeated.")
]

group = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Look at runs, and act on them: list, show, watch, cancel, retry.",
)


@group.command(
    "list",
    epilog=examples(
        "openqueue runs list --status failed --since 1h",
        "openqueue runs list --task mail.send_mail --meta tenant=42 --json",
        "openqueue runs list --finished-since '1h ago' --text 'connection refused'",
    ),
)
@filtered(ordered=True)
def list_runs(
    chosen: RunFilter,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Older than this run: the next page.")
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Behind this place in the list: the next page, in any order."),
    ] = None,
    limit: Annotated[str, typer.Option(metavar="N", help="At most so many, up to 1000000.")] = "50",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List runs, newest first."""
    with flags(before="--before", after="--after"):
        chosen = replace(chosen, before=optional(read_run_id, before, "--before"), after=after)
    most = read_whole(limit, "--limit", 1, 1_000_000)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(print_runs(settings, chosen, most, as_json=as_json))


@group.command("count", epilog=examples("openqueue runs count --status failed --since 1d"))
@filtered()
def count_runs(
    chosen: RunFilter,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Count runs, up to 10,000 of them."""
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(print_count(settings, chosen, as_json=as_json))


@group.command("show", epilog=examples(f"openqueue runs show {EXAMPLE_ID}"))
def show(
    run_id: RunId,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Show all that is known of a run."""
    chosen = read_run_id(run_id)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(_show(settings, chosen, as_json=as_json))


@group.command(
    "watch",
    epilog=examples(
        f"openqueue runs watch {EXAMPLE_ID}",
        "openqueue runs watch --task mail.send_mail --meta tenant=42",
        "openqueue runs watch --json | jq 'select(.event == \"failed\")'",
    ),
)
def watch(
    *,
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="One run, until it has ended; without it, all that are new.",
            show_default=False,
        ),
    ] = None,
    task: TaskFilter = None,
    queue: QueueFilter = None,
    meta: MetaFilter = None,
    tag: TagFilter = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one event a line.")] = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Tell what happens, as it happens: to one run until it has ended, or to many.

    Of one run all of its timeline; the exit code says how it ended.

    Of many what happens from now on, to those that are unfinished and to new ones, until Ctrl-C.
    """
    chosen = RunFilter(task=task, queue=queue, meta=read_meta(meta or ()), tags=tuple(tag or ()))
    if run_id is not None and chosen != RunFilter():
        raise InvalidOption("ID: one run needs no filter. Give its id, or filters.", option="ID")
    only = optional(read_run_id, run_id, "ID")
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    if only is None:
        run_async(watch_many(settings, chosen, as_json=as_json))
    else:
        run_async(watch_one(settings, only, as_json=as_json))


@group.command("logs", epilog=examples(f"openqueue runs logs {EXAMPLE_ID} --follow"))
def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line of the log a line.")] = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Print what a run has logged, in all its attempts."""
    chosen = read_run_id(run_id)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(print_logs(settings, chosen, follow=follow, as_json=as_json))


group.command("prune", epilog=examples(*EXAMPLES))(prune)


async def _show(settings: Settings, run_id: UUID, *, as_json: bool) -> None:
    async with client(settings) as opened:
        run = await opened.get(run_id)
        events, attempts = await opened.events(run_id), await opened.attempts(run_id)
    show_run(run, attempts, events, as_json=as_json)


acting_commands(group)
