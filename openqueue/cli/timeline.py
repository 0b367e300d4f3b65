"""A run's timeline: what happened when, one line each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from openqueue.cli.output import STYLES, console, error_line, say, took
from openqueue.errors import ConnectionFailed, OpenQueueError
from openqueue.redaction import printable

if TYPE_CHECKING:
    from openqueue.cli.outages import Outages
    from openqueue.runs.client import Client
    from openqueue.runs.model import RunEvent

__all__ = ["following", "line", "show_timeline"]

LOOK_EVERY = 0.25
"""Seconds between looks for news of a run that is watched."""

_DULL = {"final", "retryable", "traceback", "causes"}


def show_timeline(events: Sequence[RunEvent]) -> None:
    """Print the events with the time since the first of them."""
    from rich.text import Text

    page = console()
    since = [f"+{took(events[0].at, event.at)}" for event in events]
    widest = max(map(len, since))
    for event, after in zip(events, since, strict=True):
        text = Text(f"  {after:<{widest}}  ", style="dim")
        text.append(
            f"{event.event:<10}", style=f"not dim {STYLES[event.event]}" if event.event in STYLES else ""
        )
        text.append(f" {said(event)}".rstrip(), style="not dim")
        page.print(text, no_wrap=True, overflow="ellipsis", crop=True)


def said(event: RunEvent) -> str:
    """What an event says besides its name, in one line."""
    data = event.data
    parts = [f"attempt {event.attempt}"] if event.attempt and event.event != "log" else []
    if event.event == "log":
        parts += [f"{data.get('level', '')}: {data.get('message', '')}", _pairs(_fields(data))]
    elif error := data.get("error"):
        parts += [error_line(error)]
    else:
        parts += [_pairs({name: value for name, value in data.items() if name not in _DULL})]
    return printable("  ".join(part for part in parts if part))


def line(event: RunEvent) -> str:
    """An event with the time of day, for those who watch."""
    return f"{event.at.astimezone():%H:%M:%S}  {event.event:<10} {said(event)}".rstrip()


@asynccontextmanager
async def following(client: Client, run_id: UUID, outages: Outages) -> AsyncIterator[None]:
    """Tell of what happens to a run as it happens, and on leaving of what has happened by then."""
    import asyncio

    from openqueue.runs.watching import Timeline

    timeline = Timeline(client.database, run_id)

    async def look() -> None:
        say(*map(line, await timeline.once()))

    async def keep_looking() -> None:
        while True:
            await outages.outlast(look)
            await asyncio.sleep(LOOK_EVERY)

    looking = asyncio.create_task(keep_looking())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError, OpenQueueError):
            await looking
        with suppress(ConnectionFailed):  # why it is left is what is to be told
            await look()


def _fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a log line; of a traceback what it ends with."""
    fields = dict(data.get("fields") or {})
    if isinstance(fields.get("exception"), str):
        fields["exception"] = fields["exception"].rstrip().rpartition("\n")[2]
    return fields


def _pairs(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in fields.items())


def _short(value: Any) -> str:
    if isinstance(value, str) and " " not in value:
        try:
            return datetime.fromisoformat(value).astimezone().strftime("%H:%M:%S") if "T" in value else value
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)
