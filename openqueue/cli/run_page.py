"""The page of one run: facts, input, output, error, attempts, timeline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from openqueue.cli.output import (
    STYLES,
    Column,
    console,
    error_line,
    heading,
    plain,
    show_json,
    show_table,
    took,
    when,
)
from openqueue.cli.timeline import show_timeline
from openqueue.redaction import printable
from openqueue.tasks.tick import Tick, without_tick

if TYPE_CHECKING:
    from openqueue.runs.model import Attempt, RunEvent, RunInfo

__all__ = ["show_run"]


def show_run(
    run: RunInfo, attempts: Sequence[Attempt], events: Sequence[RunEvent], *, as_json: bool = False
) -> None:
    """Print all that is known of a run."""
    if as_json:
        show_json({**plain(run), "attempts": attempts, "events": events})
        return
    _show_facts(run)
    _show_value("Input", run.input)
    if run.status == "completed":
        _show_value("Output", run.output)
    if run.progress:
        _show_value("Progress", run.progress)
    if run.error and run.status != "cancelled":
        heading("Error")
        _print_indented(run.error.get("traceback") or error_line(run.error))
    if len(attempts) > 1:
        heading("Attempts")
        recounted = any(one.counted != one.number for one in attempts)
        show_table(attempts, [one for one in _ATTEMPTS if recounted or one is not _TRY], empty="")
    heading("Timeline")
    show_timeline(events)


def _show_facts(run: RunInfo) -> None:
    from rich.text import Text

    title = Text(f"{run.id}  ", style="bold")
    title.append(printable(run.task)).append("  ")
    title.append(run.status, style=STYLES.get(run.status, ""))
    page = console()
    page.print(title, overflow="fold")
    for name, value in _facts(run):
        page.print(Text(f"  {name:<10}", style="dim").append(printable(value), style="not dim"))


def _facts(run: RunInfo) -> Iterator[tuple[str, str]]:
    yield "queue", f"{run.queue}, priority {run.priority}"
    yield "attempt", f"{run.attempt} of {run.max_attempts}"
    yield "enqueued", when(run.created_at)
    if not run.finished and run.status != "running":
        yield "due", when(run.run_at)
    if run.started_at:
        waited = (
            f"waited {took(run.run_at, run.started_at)}" if run.attempt <= 1 else f"attempt {run.attempt}"
        )
        yield "started", f"{when(run.started_at)} ({waited})"
    if run.finished_at:
        yield "finished", f"{when(run.finished_at)} (took {took(run.started_at, run.finished_at)})"
    if run.deadline:
        yield "deadline", when(run.deadline)
    if run.namespace != "default":
        yield "namespace", run.namespace
    yield from _marks(run)
    if run.worker:
        yield "worker", str(run.worker)


def _marks(run: RunInfo) -> Iterator[tuple[str, str]]:
    """What it is found by."""
    if run.key:
        yield "key", run.key
    if run.tags:
        yield "tags", ", ".join(run.tags)
    tick, meta = without_tick(run.meta)
    if tick is not None:
        yield "schedule", f"{tick.schedule}, {_tick(tick)}"
    if meta:
        yield "meta", json.dumps(meta, ensure_ascii=False)


def _tick(tick: Tick) -> str:
    """`tick of 2026-11-22 02:00:00, number 7`."""
    if tick.manual:
        return f"fired by hand at {when(tick.at)}"
    flags = [word for word, is_so in (("caught up", tick.catch_up), ("backfilled", tick.backfill)) if is_so]
    number = [] if tick.number is None else [f"number {tick.number}"]
    return ", ".join([f"tick of {when(tick.at)}", *number, *flags])


def _show_value(title: str, value: Any) -> None:
    heading(title)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    _print_indented(text if len(text) > 60 else json.dumps(value, ensure_ascii=False))


def _print_indented(text: str) -> None:
    for line in text.rstrip().splitlines():
        print(f"  {printable(line, keep=chr(9))}")


_TRY: Column[Attempt] = Column("TRY", lambda one: str(one.counted), right=True, rank=3)
"""The number that max_attempts counts, where it differs: after a snooze, a lost worker, a retry by hand."""

_ATTEMPTS: tuple[Column[Attempt], ...] = (
    Column("  #", lambda one: f"  {one.number}"),
    _TRY,
    Column("OUTCOME", lambda one: one.outcome),
    Column("STARTED", lambda one: when(one.started_at), rank=2),
    Column("TOOK", lambda one: took(one.started_at, one.finished_at), right=True, rank=1),
    Column("ERROR", lambda one: error_line(one.error), least=12, rank=1),
)
