"""`openqueue enqueue`: one run, by the task's name; on request, wait for what becomes of it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples, read_meta
from openqueue.cli.output import say, show_json
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.timeline import following
from openqueue.errors import InvalidArguments, UnknownTask

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.model import Run
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)

_WHEN = "When and where"
_WAIT = "Waiting"
_HOW = """Write them by name, such as '{"to": "a@b.c"}'."""


@group.command(
    "enqueue",
    epilog=examples(
        """openqueue enqueue mail.send_mail '{"to": "a@b.c", "subject": "x"}'""",
        """openqueue enqueue mail.send_mail '{"to": "a@b.c"}' --delay 10m --meta tenant=42 --tag vip""",
        "cat order.json | openqueue enqueue shop.ship - --key order:42 --watch",
    ),
)
def enqueue(
    *,
    task: Annotated[str, typer.Argument(metavar="NAME", help="The task, such as mail.send_mail.")],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="Its arguments: a JSON object; - reads standard input.")
    ] = "{}",
    delay: Annotated[
        str | None, typer.Option(help="Not before then: 30s, 5m, 1h30m, 2d.", rich_help_panel=_WHEN)
    ] = None,
    run_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Not before then: 2026-12-24T18:00+01:00.", rich_help_panel=_WHEN),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Not started by then, it expires.", rich_help_panel=_WHEN),
    ] = None,
    priority: Annotated[
        int | None, typer.Option(help="-32768 … 32767, lower first.", rich_help_panel=_WHEN)
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Instead of the task's.", rich_help_panel=_WHEN)] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="How often it is tried in all.", rich_help_panel=_WHEN)
    ] = None,
    key: Annotated[str | None, typer.Option(help="One unfinished run per task and key.")] = None,
    key_mode: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="With a key: replace the waiting run, or skip (keep it)."),
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Facts to find it by; the value may be JSON."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Also if no worker has published such a task.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for its end and print its result.", rich_help_panel=_WAIT)
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Wait no longer; the run goes on.", rich_help_panel=_WAIT),
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Enqueue a run of a task and print its id."""
    options: dict[str, Any] = {
        "delay": delay,
        "run_at": run_at,
        "deadline": deadline,
        "priority": priority,
        "queue": queue,
        "max_attempts": max_attempts,
        "key": key,
        "key_mode": key_mode,
        "meta": read_meta(meta or ()) or None,
        "tags": tag or None,
    }
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    arguments = _read_arguments(sys.stdin.read() if payload == "-" else payload)
    given = {name: value for name, value in options.items() if value is not None}
    run_async(
        _enqueue(settings, task, arguments, {**given, "allow_unknown": allow_unknown}, as_json=as_json)
        if not watch
        else _enqueue_and_watch(
            settings, task, arguments, {**given, "allow_unknown": allow_unknown}, timeout, as_json=as_json
        )
    )


async def _enqueue(
    settings: Settings, task: str, arguments: dict[str, Any], options: dict[str, Any], *, as_json: bool
) -> None:
    async with client(settings) as opened:
        run = await _add(opened, task, arguments, options)
    if as_json:
        show_json({"id": run.id, "task": run.task, "outcome": run.outcome})
    else:
        _tell_outcome(run)
        print(run.id)


async def _enqueue_and_watch(
    settings: Settings,
    task: str,
    arguments: dict[str, Any],
    options: dict[str, Any],
    timeout: str | None,
    *,
    as_json: bool,
) -> None:
    async with client(settings) as opened:
        run = await _add(opened, task, arguments, options)
        _tell_outcome(run)
        say(f"{run.id}: waiting for its end; Ctrl-C leaves it running.")
        try:
            async with following(opened, run.id):
                result = await run.result(timeout)
        finally:
            if as_json:
                show_json(await run.info())
    if not as_json:
        show_json(result)


async def _add(opened: Client, task: str, arguments: dict[str, Any], options: dict[str, Any]) -> Run[Any]:
    try:
        return await opened.enqueue(task, arguments, **options)
    except UnknownTask as error:
        said = str(error).replace("pass allow_unknown=True", "say --allow-unknown")
        raise UnknownTask(said, task=error.task) from None


def _tell_outcome(run: Run[Any]) -> None:
    if run.outcome == "existing":
        say("There is an unfinished run with this key, or one with this id: nothing was added.")
    if run.outcome == "replaced":
        say("The run with this key was still waiting, and was replaced.")


def _read_arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidArguments(f"The arguments are not JSON: {error}. {_HOW}", field="input") from None
    if not isinstance(found, dict):
        raise InvalidArguments(
            f"The arguments must be a JSON object, not {type(found).__name__}. {_HOW}", field="input"
        )
    return found
