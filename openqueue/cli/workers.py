"""`openqueue workers`: who is there, and doing what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, plain, show_json, show_table, when
from openqueue.cli.session import client, run_async, settings_of
from openqueue.durations import format_duration

if TYPE_CHECKING:
    from openqueue.runs.statistics import WorkerInfo
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)


@group.command("workers", epilog=examples("openqueue workers", "openqueue workers --json | jq length"))
def workers(
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List the workers: state, load, queues, last heartbeat, what they run and what they take.

    NOW is what has run longest, and since when. MEMORY and CPU (percent of one core) are of their processes.
    """
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    found = run_async(_workers(settings))
    if as_json:
        show_json([_flat(one, settings.namespace) for one in found])
    else:
        show_table(found, _COLUMNS, empty="No worker is running. Start one: openqueue worker")


async def _workers(settings: Settings) -> list[WorkerInfo]:
    async with client(settings) as opened:
        return await opened.stats.workers()


def _flat(one: WorkerInfo, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = plain(one)
    return {"id": found.pop("id"), "namespace": namespace, **found}


def _beat(one: WorkerInfo) -> str:
    return f"{_lasting(one.beat_age)} ago"


def _now(one: WorkerInfo) -> str:
    if not one.runs:
        return "-"
    longest = one.runs[0]
    since = (datetime.now(UTC) - longest.started_at).total_seconds()
    more = f" and {one.running - 1} more" if one.running > 1 else ""
    return f"{longest.task} {_lasting(since)}{more}"


def _lasting(seconds: float) -> str:
    return format_duration(timedelta(seconds=max(round(seconds), 0)))


def _memory(one: WorkerInfo) -> str:
    return "-" if one.rss is None else f"{one.rss / 2**20:.0f} MiB"


_COLUMNS: tuple[Column[WorkerInfo], ...] = (
    Column("NAME", lambda one: one.name, least=16),
    Column("STATE", lambda one: one.state, rank=1),
    Column("RUNNING", lambda one: f"{one.running}/{one.concurrency}", rank=2, right=True),
    Column("LAST BEAT", _beat, rank=3, right=True),
    Column("NOW", _now, least=12, rank=5),
    Column("QUEUES", lambda one: ", ".join(one.queues or ["(all)"]), least=7, rank=4),
    Column("MEMORY", _memory, rank=6, right=True),
    Column("CPU", lambda one: "-" if one.cpu is None else f"{one.cpu:.0f} %", rank=7, right=True),
    Column("STARTED", lambda one: when(one.started_at), rank=8),
    Column("HOST", lambda one: one.host, least=8, rank=9),
    Column("PID", lambda one: str(one.pid), rank=10, right=True),
    Column("VERSION", lambda one: one.version, rank=11),
    Column("ID", lambda one: str(one.id), rank=12),
)
