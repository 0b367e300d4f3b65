"""The list of queues, and the page of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from openqueue.cli.control_page import limit_of, pause_of, rate_of, show_controls
from openqueue.cli.output import Column, console, plain, show_json, show_table
from openqueue.cli.recent import RECENT, any_ended, in_the_last_minutes
from openqueue.cli.session import client
from openqueue.cli.unknown import tell_unknown
from openqueue.durations import format_duration
from openqueue.runs.filter import RunFilter
from openqueue.runs.statistics import MOST, QueueInfo

if TYPE_CHECKING:
    from openqueue.control.model import Control
    from openqueue.runs.client import Client
    from openqueue.settings import Settings

__all__ = ["print_queues", "show_queue", "workers_of"]

Row = Mapping[str, Any]


async def print_queues(settings: Settings, *, as_json: bool) -> None:
    """The queues, each with what waits and what holds."""
    async with client(settings) as opened:
        found = await _queues(opened, settings)
    if as_json:
        show_json([_flat(row) for row in found])
    else:
        show_table(found, _COLUMNS, empty="No queue has anything to do.")


async def show_queue(settings: Settings, name: str, *, as_json: bool) -> None:
    """One queue: numbers, what holds, and who said it."""
    async with client(settings) as opened:
        rows = {row["queue"]: row for row in await _queues(opened, settings)}
        held = [one for one in await opened.controls.list() if _concerns(one, name)]
        said = [
            dict(row) for row in await opened.database.fetch("controls_said", opened.namespace, "queue", name)
        ]
        await tell_unknown(opened, RunFilter(queue=name))
    row = rows.get(name, {**_EMPTY, "queue": name, "workers": 0, "control": None})
    if as_json:
        show_json({**_flat(row), "controls": [plain(one) for one in held], "said": said})
        return
    page = console()
    page.print(name, style="bold")
    page.print(
        f"  {_count(row, 'queued')} queued (oldest {_waiting(row)}), {_count(row, 'blocked')} blocked,"
        f" {row['running']} running, {_count(row, 'retrying')} retrying,"
        f" {_count(row, 'scheduled')} scheduled; workers: {row['workers']}"
    )
    if any_ended(row):
        page.print(f"  {in_the_last_minutes(row)}")
    if held:
        print()
        show_controls(held, said)


async def _queues(opened: Client, settings: Settings) -> list[Row]:
    stats = [_row(one) for one in await opened.stats.queues()]
    workers = [dict(row) for row in await opened.database.fetch("workers", opened.namespace)]
    controls = {one.name: one for one in await opened.controls.of("queue")}
    silence = 3 * settings.heartbeat.total_seconds()
    alive = [one for one in workers if one["beat_age"] < silence and one["state"] != "draining"]
    known = {row["queue"]: row for row in stats}
    named = {queue for one in alive for queue in one["queues"] or ()}
    return [
        {
            **_EMPTY,
            "queue": queue,
            **known.get(queue, {}),
            "workers": workers_of(queue, alive),
            "control": controls.get(queue),
        }
        for queue in sorted({*known, *named, *controls})
    ]


def _row(one: QueueInfo) -> dict[str, Any]:
    """Its numbers, with those of the last minutes among them."""
    hidden = ("recent", "paused", "paused_until")
    numbers = {field.name: getattr(one, field.name) for field in fields(one) if field.name not in hidden}
    return {**numbers, **one.recent.flat()}


def workers_of(queue: str, alive: Iterable[Row]) -> int:
    """How many of these workers work on a queue: a worker that names none works on all. Pure."""
    return sum(one["queues"] is None or queue in one["queues"] for one in alive)


def _concerns(one: Control, queue: str) -> bool:
    return one.kind == "all" or (one.kind == "queue" and one.name == queue) or one.queue == queue


def _flat(row: Row) -> dict[str, Any]:
    """The row with what holds among its fields."""
    held = row["control"]
    numbers = {key: value for key, value in row.items() if key != "control"}
    fields = (
        "concurrency",
        "used",
        "rate",
        "burst",
        "fairness",
        "ageing",
        "paused",
        "paused_until",
        "reason",
    )
    return {
        **numbers,
        **{field: plain(getattr(held, field, None)) for field in fields},
        "paused": bool(held and held.paused),
    }


def _count(row: Row, what: str) -> str:
    """A number; `10,000+` where no more are counted."""
    return f"{MOST:,}+" if row[what] >= MOST else str(row[what])


def _waiting(row: Row) -> str:
    age = row["oldest_age"]
    return "-" if age is None else format_duration(timedelta(seconds=round(age, 1 if age < 10 else 0)))


_EMPTY: Row = _row(QueueInfo(""))

_COLUMNS: tuple[Column[Row], ...] = (
    Column("QUEUE", lambda row: row["queue"], least=12),
    Column("QUEUED", lambda row: _count(row, "queued"), rank=1, right=True),
    Column("BLOCKED", lambda row: _count(row, "blocked"), rank=4, right=True),
    Column("RUNNING", lambda row: str(row["running"]), rank=2, right=True),
    Column("OLDEST", _waiting, rank=3, right=True),
    Column("WORKERS", lambda row: str(row["workers"]), rank=6, right=True),
    Column("LIMIT", lambda row: limit_of(row["control"]), rank=5, right=True),
    Column("RATE", lambda row: rate_of(row["control"]), rank=8),
    Column("PAUSED", lambda row: pause_of(row["control"]), rank=4),
    Column("FAIRNESS", lambda row: (row["control"] and row["control"].fairness) or "-", rank=9),
    Column("RETRYING", lambda row: _count(row, "retrying"), rank=10, right=True),
    Column("SCHEDULED", lambda row: _count(row, "scheduled"), rank=11, right=True),
    *RECENT,
)
