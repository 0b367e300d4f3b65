"""`openqueue runs`: look at runs, and act on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

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
from openqueue.cli.output import Column, error_line, say, show_json, show_table, took, when
from openqueue.cli.run_page import show_run
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
from openqueue.errors import RunNotFound, UnexpectedState

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.history import RunFilter
    from openqueue.runs.model import RunInfo
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Look at runs, and act on them: list, show, cancel, retry.",
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
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only of this queue.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="scheduled, queued, running, retrying, completed, failed, cancelled or expired;"
            " several with commas."
        ),
    ] = None,
    meta: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Whose meta has this; may be repeated.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="With any of these tags.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Enqueued from then: 1h, a date.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Enqueued before then.")] = None,
    before: Annotated[
        str | None, typer.Option(metavar="ID", help="Older than this run: the next page.")
    ] = None,
    limit: Annotated[str, typer.Option(metavar="N", help="At most so many, up to 10000.")] = "50",
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
            before=optional(read_run_id, before, "--before"),
            limit=read_whole(limit, "--limit", 1, 10_000),
        )
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    found = run_async(_list(settings, chosen))
    if as_json:
        show_json(found)
        return
    show_table(found, _COLUMNS, empty="No runs were found.")
    if len(found) == chosen.limit:
        say(f"There may be more: --before {found[-1].id}")


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


async def _list(settings: Settings, chosen: RunFilter) -> list[RunInfo]:
    async with client(settings) as opened:
        return list(await opened.list_runs(chosen))


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

_COLUMNS: tuple[Column[RunInfo], ...] = (
    Column("ID", lambda run: str(run.id)),
    Column("STATUS", lambda run: run.status, rank=1),
    Column("TASK", lambda run: run.task, least=10, rank=2),
    Column("QUEUE", lambda run: run.queue, least=7, rank=6),
    Column("TRY", lambda run: f"{run.attempt}/{run.max_attempts}", rank=5, right=True),
    Column("ENQUEUED", lambda run: when(run.created_at), rank=3),
    Column("TOOK", lambda run: took(run.started_at, run.finished_at), rank=4, right=True),
    Column("ERROR", lambda run: error_line(run.error), least=12, rank=7),
)
