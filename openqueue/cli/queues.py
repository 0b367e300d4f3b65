"""`openqueue queues`: how much waits and runs where, for how long already, and who works on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, show_json, show_table
from openqueue.cli.session import client, run_async, settings_of
from openqueue.durations import format_duration

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["group", "workers_of"]

group = typer.Typer(add_completion=False)

Row = Mapping[str, Any]


@group.command("queues", epilog=examples("openqueue queues", "openqueue queues --json | jq '.[].queued'"))
def queues(
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List the queues: how much waits, and for how long.

    Those that have unfinished runs, and those that a worker which is alive was told to work on.
    """
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    found = run_async(_queues(settings))
    if as_json:
        show_json(found)
    else:
        show_table(found, _COLUMNS, empty="No queue has anything to do.")


async def _queues(settings: Settings) -> list[Row]:
    async with client(settings) as opened:
        stats, workers = [
            [dict(row) for row in await opened.database.fetch(name, opened.namespace)]
            for name in ("queue_stats", "workers")
        ]
    silence = 3 * settings.heartbeat.total_seconds()
    alive = [one for one in workers if one["beat_age"] < silence and one["state"] != "draining"]
    known = {row["queue"]: row for row in stats}
    named = {queue for one in alive for queue in one["queues"] or ()}
    return [
        {**_EMPTY, "queue": queue, **known.get(queue, {}), "workers": workers_of(queue, alive)}
        for queue in sorted({*known, *named})
    ]


def workers_of(queue: str, alive: Iterable[Row]) -> int:
    """How many of these workers work on a queue: a worker that names none works on all. Pure."""
    return sum(one["queues"] is None or queue in one["queues"] for one in alive)


def _waiting(row: Row) -> str:
    age = row["oldest_age"]
    return "-" if age is None else format_duration(timedelta(seconds=round(age, 1 if age < 10 else 0)))


_EMPTY: Row = {
    "queue": "",
    "queued": 0,
    "running": 0,
    "scheduled": 0,
    "retrying": 0,
    "oldest_ready_at": None,
    "oldest_age": None,
}

_COLUMNS: tuple[Column[Row], ...] = (
    Column("QUEUE", lambda row: row["queue"], least=12),
    Column("QUEUED", lambda row: str(row["queued"]), rank=1, right=True),
    Column("RUNNING", lambda row: str(row["running"]), rank=2, right=True),
    Column("OLDEST", _waiting, rank=3, right=True),
    Column("RETRYING", lambda row: str(row["retrying"]), rank=5, right=True),
    Column("SCHEDULED", lambda row: str(row["scheduled"]), rank=6, right=True),
    Column("WORKERS", lambda row: str(row["workers"]), rank=4, right=True),
)
