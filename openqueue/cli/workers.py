"""`openqueue workers`: who is there, and doing how much."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, show_json, show_table, when
from openqueue.cli.session import client, run_async, settings_of
from openqueue.durations import format_duration

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)

Row = Mapping[str, Any]


@group.command("workers", epilog=examples("openqueue workers", "openqueue workers --json | jq length"))
def workers(
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List the workers: state, load, queues, last heartbeat."""
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    found = run_async(_workers(settings))
    if as_json:
        show_json(found)
    else:
        show_table(found, _COLUMNS, empty="No worker is running. Start one: openqueue worker")


async def _workers(settings: Settings) -> list[Row]:
    async with client(settings) as opened:
        return [dict(row) for row in await opened.database.fetch("workers", opened.namespace)]


def _beat(row: Row) -> str:
    return f"{format_duration(timedelta(seconds=round(row['beat_age'])))} ago"


_COLUMNS: tuple[Column[Row], ...] = (
    Column("NAME", lambda row: row["name"], least=16),
    Column("STATE", lambda row: row["state"], rank=1),
    Column("RUNNING", lambda row: f"{row['running']}/{row['concurrency']}", rank=2, right=True),
    Column("LAST BEAT", _beat, rank=3, right=True),
    Column("QUEUES", lambda row: ", ".join(row["queues"] or ["(all)"]), least=7, rank=4),
    Column("STARTED", lambda row: when(row["started_at"]), rank=5),
    Column("HOST", lambda row: row["host"], least=8, rank=6),
    Column("PID", lambda row: str(row["pid"]), rank=7, right=True),
    Column("VERSION", lambda row: row["version"], rank=8),
    Column("ID", lambda row: str(row["id"]), rank=9),
)
