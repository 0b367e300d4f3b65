"""`openqueue tasks`: the catalogue, that is what workers have said they can run; limits and pauses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.completing import complete_task
from openqueue.cli.control_page import print_held, show_controls
from openqueue.cli.controlling import (
    Burst,
    Concurrency,
    RateFlag,
    Reason,
    Until,
    apply,
    limits,
    naming,
    read_until,
    refuse_none,
)
from openqueue.cli.listing import ListingByName
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, console, plain, show_json, show_table, when
from openqueue.cli.recent import RECENT, any_ended, in_the_last_minutes
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.unknown import tell_unknown
from openqueue.runs.filter import RunFilter
from openqueue.runs.statistics import NOTHING

if TYPE_CHECKING:
    from openqueue.control.changes import Change
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(
    cls=ListingByName,
    add_completion=False,
    help="List the tasks that workers have published. Show, limit, pause and resume one.",
)

Entry = Mapping[str, Any]
Name = Annotated[
    str, typer.Argument(metavar="TASK", help="Its name.", show_default=False, autocompletion=complete_task)
]


@group.command("list", epilog=examples("openqueue tasks list", "openqueue tasks mail. --json"))
def list_tasks(
    prefix: Annotated[
        str,
        typer.Argument(
            metavar="PREFIX",
            help="Only names that begin so.",
            show_default=False,
            autocompletion=complete_task,
        ),
    ] = "",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List the tasks that workers have published."""
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    found = [one for one in run_async(_catalog(settings)) if one["task"].startswith(prefix)]
    if as_json:
        show_json(found)
    else:
        empty = "No worker has published a task yet. Start one: openqueue worker"
        show_table(told_once(found), _COLUMNS, empty=f"No task begins with {prefix!r}." if prefix else empty)


@group.command("show", epilog=examples("openqueue tasks show mail.send"))
def show(
    name: Name,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Show what waits of a task, which limits hold, and who said each."""
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(_show(settings, name, as_json=as_json))


@group.command("pause", epilog=examples("openqueue tasks pause mail.send --until 30m"))
def pause(
    *,
    name: Name,
    until: Until = None,
    reason: Reason = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Start no more runs of a task; what runs goes on."""
    from openqueue.control.changes import paused, scope

    with naming():
        change = paused(scope(task=name), read_until(until), reason)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    _say(settings, change, as_json=as_json)


@group.command("resume", epilog=examples("openqueue tasks resume mail.send"))
def resume(
    name: Name,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """End the pause of a task."""
    from openqueue.control.changes import resumed, scope

    with naming():
        change = resumed(scope(task=name))
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    _say(settings, change, as_json=as_json)


@group.command(
    "limit",
    epilog=examples(
        "openqueue tasks limit mail.send --concurrency 5 --rate 100/1m",
        "openqueue tasks limit mail.send --concurrency none",
    ),
)
def limit(
    *,
    name: Name,
    concurrency: Concurrency = None,
    rate: RateFlag = None,
    burst: Burst = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Say how many of a task may run at once or begin in a period, in all processes.

    This goes before what its code says; none takes back what was said here.
    """
    from openqueue.control.changes import scope

    with naming():
        changes = limits(scope(task=name), concurrency, rate, burst)
    refuse_none(changes, "--concurrency", "--rate")
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    _say(settings, changes[0], as_json=as_json)


def _say(settings: Settings, change: Change, *, as_json: bool) -> None:
    print_held(apply(settings, [change], "known_tasks"), change.name, as_json=as_json)


async def _show(settings: Settings, name: str, *, as_json: bool) -> None:
    async with client(settings) as opened:
        stats = await opened.database.fetchrow("task_stats", opened.namespace, name)
        recent = {one.task: one.recent for one in await opened.stats.tasks()}.get(name, NOTHING).flat()
        assert stats is not None  # an aggregate has a row
        held = [
            one
            for one in await opened.controls.list()
            if one.kind == "all" or (one.kind, one.name) == ("task", name)
        ]
        said = [
            dict(row) for row in await opened.database.fetch("controls_said", opened.namespace, "task", name)
        ]
        await tell_unknown(opened, RunFilter(task=name))
    if as_json:
        show_json({"task": name, **stats, **recent, "controls": [plain(one) for one in held], "said": said})
        return
    page = console()
    page.print(name, style="bold")
    page.print(f"  {'at least ' if stats['capped'] else ''}" + ", ".join(waiting(stats)))
    if any_ended(recent):
        page.print(f"  {in_the_last_minutes(recent)}")
    if held:
        print()
        show_controls(held, said)


def waiting(stats: Any) -> Iterator[str]:
    """How many unfinished runs of a task there are, by state."""
    return (f"{number} {state}" for state, number in stats.items() if state != "capped")


async def _catalog(settings: Settings) -> list[Entry]:
    async with client(settings) as opened:
        rows = await opened.database.fetch("catalog", opened.namespace)
        recent = {one.task: one.recent for one in await opened.stats.tasks()}
    return [
        {
            **row,
            "options": json.loads(row["options"]),
            "input_schema": json.loads(row["input_schema"] or "{}"),
            **recent.get(row["task"], NOTHING).flat(),
        }
        for row in rows
    ]


def told_once(entries: Iterable[Entry]) -> list[Entry]:
    """Each task as it was published last; twice only where workers with other tasks say other things of it.

    Workers publish by what tasks they have, so that one more file leaves the entries of those before it.
    """
    said: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: str(entry["seen_at"])):
        what = {name: entry[name] for name in ("task", "queue", "priority", "max_attempts", "description")}
        said[json.dumps([what, entry["options"], entry["input_schema"]], sort_keys=True)] = entry
    return sorted(said.values(), key=lambda entry: str(entry["task"]))


def arguments(schema: Mapping[str, Any]) -> str:
    """A signature, from the schema of the input: `to: string, retries: integer = 3`."""
    required = set(schema.get("required", ()))
    return ", ".join(
        f"{name}: {kind(one)}" + ("" if name in required else f" = {json.dumps(one.get('default'))}")
        for name, one in schema.get("properties", {}).items()
    )


def kind(schema: Mapping[str, Any]) -> str:
    """What a part of a schema wants, in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"{kind(schema.get('items', {}))}[]"
    return str(schema.get("format") or schema.get("type") or "any")


def differences(entry: Entry) -> Iterator[str]:
    """The options that are not the default."""
    options = entry["options"]
    if entry["max_attempts"] != 25:
        yield f"max_attempts={entry['max_attempts']}"
    if entry["priority"]:
        yield f"priority={entry['priority']}"
    for name in ("timeout", "deadline"):
        if options.get(name):
            yield f"{name}={options[name]:g}s"
    for name in ("concurrency", "rate"):
        if options.get(name):
            yield f"{name}={options[name]}"
    if options.get("tags"):
        yield f"tags={','.join(options['tags'])}"


_COLUMNS: tuple[Column[Entry], ...] = (
    Column("TASK", lambda one: one["task"], least=16),
    Column("ARGUMENTS", lambda one: arguments(one["input_schema"]), least=16, rank=1),
    Column("QUEUE", lambda one: one["queue"], least=7, rank=2),
    Column("OPTIONS", lambda one: " ".join(differences(one)), least=12, rank=4),
    Column("LAST SEEN", lambda one: when(one["seen_at"]), rank=3),
    Column("DESCRIPTION", lambda one: (one["description"] or "").partition("\n")[0], least=16, rank=5),
    *RECENT,
)
