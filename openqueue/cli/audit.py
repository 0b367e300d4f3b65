"""`openqueue audit`: what was done to runs by hand, by whom and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from openqueue.cli.listing import Listing
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, show_json, show_table, when
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.values import optional, read_run_id, read_whole

if TYPE_CHECKING:
    from openqueue.runs.acting import AuditEntry
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(
    add_completion=False, cls=Listing, help="List what was done to runs by hand: who, what, when, why."
)


@group.callback()
def _group() -> None:
    """List what was done to runs by hand: who, what, when, why."""


@group.command("list", epilog=examples("openqueue audit list", "openqueue audit list --json --limit 1000"))
def list_audit(
    run: Annotated[str | None, typer.Option(metavar="ID", help="Only what was done to this run.")] = None,
    before: Annotated[
        str | None, typer.Option(metavar="N", help="Only before entry N: the next page.")
    ] = None,
    limit: Annotated[str, typer.Option(metavar="N", help="At most so many, up to 10000.")] = "50",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List it, the newest first."""
    only = optional(read_run_id, run, "--run")
    place = optional(read_whole, before, "--before", 1, 999_999_999)
    most = read_whole(limit, "--limit", 1, 10_000)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(_list(settings, only, place, most, as_json=as_json))


async def _list(
    settings: Settings, run: UUID | None, before: int | None, most: int, *, as_json: bool
) -> None:
    async with client(settings) as opened:
        entries = await opened.acting.audit(run, before=before, limit=most)
    if as_json:
        show_json(entries)
    else:
        show_table(entries, _COLUMNS, empty="Nothing was done by hand.")


def _what(entry: AuditEntry) -> str:
    if len(entry.runs) == 1:
        return str(entry.runs[0])
    return f"{len(entry.runs):,} runs"


_COLUMNS: tuple[Column[AuditEntry], ...] = (
    Column("N", lambda one: str(one.id), right=True, rank=4),
    Column("AT", lambda one: when(one.at)),
    Column("WHO", lambda one: one.actor, rank=1),
    Column("DID", lambda one: one.action),
    Column("TO", _what, rank=2),
    Column("WITH", lambda one: json.dumps(one.details) if one.details else "", least=8, rank=5),
    Column("WHY", lambda one: one.reason or "", least=12, rank=3),
)
