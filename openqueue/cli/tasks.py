"""`openqueue tasks`: the catalogue, that is what workers have said they can run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.completing import complete_task
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, show_json, show_table, when
from openqueue.cli.session import client, run_async, settings_of

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)

Entry = Mapping[str, Any]


@group.command("tasks", epilog=examples("openqueue tasks", "openqueue tasks mail. --json"))
def tasks(
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
        show_table(found, _COLUMNS, empty=f"No task begins with {prefix!r}." if prefix else empty)


async def _catalog(settings: Settings) -> list[Entry]:
    async with client(settings) as opened:
        rows = await opened.database.fetch("catalog", opened.namespace)
    return [
        {
            **row,
            "options": json.loads(row["options"]),
            "input_schema": json.loads(row["input_schema"] or "{}"),
        }
        for row in rows
    ]


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
    if options.get("tags"):
        yield f"tags={','.join(options['tags'])}"


_COLUMNS: tuple[Column[Entry], ...] = (
    Column("TASK", lambda one: one["task"], least=16),
    Column("ARGUMENTS", lambda one: arguments(one["input_schema"]), least=16, rank=1),
    Column("QUEUE", lambda one: one["queue"], least=7, rank=2),
    Column("OPTIONS", lambda one: " ".join(differences(one)), least=12, rank=4),
    Column("LAST SEEN", lambda one: when(one["seen_at"]), rank=3),
    Column("DESCRIPTION", lambda one: (one["description"] or "").partition("\n")[0], least=16, rank=5),
)
