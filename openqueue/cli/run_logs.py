"""`openqueue runs logs`: what a run has said, and what it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from openqueue.cli.outages import Outages
from openqueue.cli.output import say, show_json_line
from openqueue.cli.pipes import end_if_nobody_reads
from openqueue.cli.session import client
from openqueue.cli.timeline import said
from openqueue.redaction import printable

if TYPE_CHECKING:
    from openqueue.runs.model import RunEvent
    from openqueue.settings import Settings

__all__ = ["print_logs"]

LOOK_EVERY = 0.25
"""Seconds between looks for more lines."""


async def print_logs(settings: Settings, run_id: UUID, *, follow: bool, as_json: bool) -> None:
    """Print the lines of its log; with `follow` also those to come, until it has ended.

    Who follows goes on when the database was away.
    """
    told = 0
    last = None
    outages = Outages()
    async with client(settings) as opened:

        async def look() -> tuple[bool, list[RunEvent]]:
            has_ended = (await opened.get(run_id)).finished
            return has_ended, [event for event in await opened.events(run_id) if event.event == "log"]

        while True:
            has_ended, lines = await (outages.outlast(look) if follow else look())
            if told and lines[told - 1].data != last:  # so many more were dropped
                told -= 1
            for event in lines[told:]:
                _print(event, as_json=as_json)
            told, last = len(lines), lines[-1].data if lines else None
            if has_ended or not follow:
                break
            end_if_nobody_reads()
            await asyncio.sleep(LOOK_EVERY)
    if not told and not as_json:
        say("The run has logged nothing.")


def _print(event: RunEvent, *, as_json: bool) -> None:
    if as_json:
        show_json_line({"at": event.at, "attempt": event.attempt, **event.data})
    else:
        print(f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  {said(event)}", flush=True)
        for line in str((event.data.get("fields") or {}).get("exception", "")).splitlines():
            print(f"    {printable(line)}", flush=True)
