"""`openqueue runs watch`: what happens to a run until it has ended, or to many as it happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from openqueue.cli.attendance import telling_who_is_missing
from openqueue.cli.outages import Outages
from openqueue.cli.output import STYLES, console, say, show_json_line
from openqueue.cli.pipes import end_if_nobody_reads
from openqueue.cli.session import client
from openqueue.cli.timeline import said
from openqueue.cli.unknown import tell_unknown
from openqueue.redaction import printable

if TYPE_CHECKING:
    from openqueue.runs.filter import RunFilter
    from openqueue.runs.model import RunEvent
    from openqueue.settings import Settings

__all__ = ["Teller", "watch_many", "watch_one"]

LOOK_EVERY = (0.25, 0.5)
"""Seconds between looks for news of one run, and of many."""

WIDE = 110
"""From so many columns on, each line has the run's id; where there are fewer, it stands above its lines."""


class Teller:
    """Prints events, a line each: for people as fits the terminal, or as JSON, one document a line."""

    def __init__(self, *, as_json: bool = False, several: bool = False) -> None:
        self._as_json = as_json
        self._several = several
        self._page = console()
        self._last: UUID | None = None

    def tell(self, run_id: UUID, task: str, event: RunEvent) -> None:
        """Print one."""
        if self._as_json:
            show_json_line({"run": run_id, "task": task, **_fields(event)})
            return
        self._print(run_id, printable(task), event)

    def _print(self, run_id: UUID, task: str, event: RunEvent) -> None:
        from rich.text import Text

        text = Text(f"{event.at.astimezone():%H:%M:%S}  ", style="dim")
        text.append(f"{event.event:<10}", style=STYLES.get(event.event, "not dim"))
        if self._several:
            if self._page.width >= WIDE:
                text.append(f"  {run_id}", style="not dim")
            elif run_id != self._last:
                print(run_id)
            text.append(f"  {task}", style="not dim")
            self._last = run_id
        text.append(f"  {said(event)}".rstrip(), style="not dim")
        if self._page.is_terminal:
            text.truncate(self._page.width, overflow="ellipsis")
        self._page.print(text, no_wrap=True, overflow="ignore", crop=False, soft_wrap=True)
        self._page.file.flush()


async def watch_one(settings: Settings, run_id: UUID, *, as_json: bool) -> None:
    """Tell of a run from its beginning to its end, also when the database was away. Raises as its result."""
    from openqueue.runs.model import Run
    from openqueue.runs.watching import Timeline

    async with client(settings) as opened:
        info = await opened.get(run_id)
        teller, timeline = Teller(as_json=as_json), Timeline(opened.database, run_id)
        run: Run[object] = Run(opened, run_id, info.task)
        outages = Outages()
        ending = asyncio.create_task(outages.outlast(run.result))
        try:
            async with telling_who_is_missing(opened, run):
                while True:
                    has_ended = ending.done()
                    for event in await outages.outlast(timeline.once):
                        teller.tell(run_id, info.task, event)
                    if has_ended:
                        break
                    end_if_nobody_reads()
                    await asyncio.wait([ending], timeout=LOOK_EVERY[0])
            await ending
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)


async def watch_many(settings: Settings, chosen: RunFilter, *, as_json: bool) -> None:
    """Tell of what happens to the runs of a filter, until interrupted, also when the database was away."""
    from openqueue.runs.watching import MOST, Watch

    async with client(settings) as opened:
        watch = Watch(opened.database, opened.namespace, chosen)
        await watch.begin()
        await tell_unknown(opened, chosen)
        say(f"Watching {watch.followed or 'no'} unfinished runs, and new ones. Stop with Ctrl-C.")
        teller, outages, is_full = Teller(as_json=as_json, several=True), Outages(), False
        while True:
            for run, event in await outages.outlast(watch.once):
                teller.tell(run.id, run.task, event)
            if watch.followed >= MOST and not is_full:
                say(
                    f"More than {MOST} runs are unfinished: the newest are followed. Choose some with --task."
                )
            is_full = watch.followed >= MOST
            end_if_nobody_reads()
            await asyncio.sleep(LOOK_EVERY[1])


def _fields(event: RunEvent) -> dict[str, object]:
    return {
        "at": event.at,
        "event": event.event,
        "attempt": event.attempt,
        "number": event.number,
        "worker": event.worker,
        "data": event.data,
    }
