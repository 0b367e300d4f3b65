"""`openqueue runs`: look at runs, and act on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from openqueue.cli.completing import complete_queue, complete_schedule, complete_status, complete_task
from openqueue.cli.exits import FAILED
from openqueue.cli.options import (
    AsJson,
    DatabaseUrl,
    Namespace,
    RunId,
    RunIds,
    Schema,
    examples,
)
from openqueue.cli.output import say, show_json
from openqueue.cli.run_list import print_runs
from openqueue.cli.run_page import show_run
from openqueue.cli.run_prune import EXAMPLES, prune
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.values import (
    EXAMPLE_ID,
    flags,
    optional,
    read_meta,
    read_moment,
    read_run_id,
    read_whole,
    read_words,
)
from openqueue.cli.watch import watch_many, watch_one
from openqueue.errors import InvalidOption, RunNotFound, UnexpectedState

if TYPE_CHECKING:
    from openqueue.runs.client import Client
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
    ),
)
def list_runs(
    *,
    task: TaskFilter = None,
    queue: QueueFilter = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="scheduled, queued, running, retrying, completed, failed, cancelled or expired;"
            " several with commas.",
            autocompletion=complete_status,
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Only of this schedule.", autocompletion=complete_schedule),
    ] = None,
    meta: MetaFilter = None,
    tag: TagFilter = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Enqueued from then: 1h, a date.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Enqueued before then.")] = None,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Older than this run: the next page.")
    ] = None,
    limit: Annotated[str, typer.Option(metavar="N", help="At most so many, up to 1000000.")] = "50",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List runs, newest first."""
    from openqueue.runs.history import RunFilter

    with flags(status="--status"):
        chosen = RunFilter(
            task=task,
            queue=queue,
            status=read_words(status or ()),
            meta=read_meta(meta or ()),
            tags=tuple(tag or ()),
            since=optional(read_moment, since, "--since"),
            until=optional(read_moment, until, "--until"),
            schedule=schedule,
            before=optional(read_run_id, before, "--before"),
        )
    most = read_whole(limit, "--limit", 1, 1_000_000)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(print_runs(settings, chosen, most, as_json=as_json))


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
    from openqueue.runs.history import RunFilter

    chosen = RunFilter(task=task, queue=queue, meta=read_meta(meta or ()), tags=tuple(tag or ()))
    if run_id is not None and chosen != RunFilter():
        raise InvalidOption("ID: one run needs no filter. Give its id, or filters.", option="ID")
    only = optional(read_run_id, run_id, "ID")
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    if only is None:
        run_async(watch_many(settings, chosen, as_json=as_json))
    else:
        run_async(watch_one(settings, only, as_json=as_json))


@group.command(
    "cancel",
    epilog=examples(f"openqueue runs cancel {EXAMPLE_ID} --reason 'wrong tenant'"),
)
def cancel(
    run_ids: RunIds,
    reason: Annotated[str | None, typer.Option(help="Kept with the run.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Cancel runs.

    Those that wait at once, those that run as soon as their worker has heard. What has ended stays as it is.
    """
    chosen = [read_run_id(one) for one in run_ids]
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(_for_each(settings, chosen, lambda opened, one: opened.cancel(one, reason), as_json=as_json))


@group.command(
    "retry",
    epilog=examples(
        f"openqueue runs retry {EXAMPLE_ID}",
        "openqueue runs list --status failed --json | jq -r '.[].id' | xargs openqueue runs retry",
    ),
)
def retry(
    run_ids: RunIds,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Run finished runs again, now.

    Their history stays. Those that wait for their next attempt need not wait any longer.
    """
    chosen = [read_run_id(one) for one in run_ids]
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(_for_each(settings, chosen, lambda opened, one: opened.retry(one), as_json=as_json))


group.command("prune", epilog=examples(*EXAMPLES))(prune)


async def _show(settings: Settings, run_id: UUID, *, as_json: bool) -> None:
    async with client(settings) as opened:
        run = await opened.get(run_id)
        events, attempts = await opened.events(run_id), await opened.attempts(run_id)
    show_run(run, attempts, events, as_json=as_json)


async def _for_each(
    settings: Settings,
    run_ids: list[UUID],
    act: Callable[[Client, UUID], Awaitable[str]],
    *,
    as_json: bool,
) -> None:
    """Do it to each; one that fails does not keep the others from it, and makes the exit code 1."""
    answers: list[dict[str, Any]] = []
    async with client(settings) as opened:
        for run_id in run_ids:
            try:
                answers.append({"id": run_id, "answer": await act(opened, run_id), "error": None})
            except (RunNotFound, UnexpectedState) as error:
                answers.append({"id": run_id, "answer": None, "error": str(error)})
    if as_json:
        show_json(answers)
    for one in () if as_json else answers:
        if one["error"]:
            say(f"Error: {one['error']}")
        else:
            print(f"{one['id']}  {_ANSWERS[one['answer']]}")
    if any(one["error"] for one in answers):
        raise typer.Exit(FAILED)


_ANSWERS = {
    "cancelled": "cancelled",
    "cancelling": "is running: its worker is told to cancel it",
    "finished": "had ended already: nothing to cancel",
    "ready": "is ready to run",
}
