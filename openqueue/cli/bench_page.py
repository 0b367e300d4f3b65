"""What `openqueue bench` shows: bars while it measures, then the figures, and what they mean."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from openqueue.bench.report import SCENARIOS, Report, Result
from openqueue.cli.output import Column, console, heading, show_table

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Bars", "show_report"]


class Bars:
    """A bar for each scenario, on standard error; none where that is not a terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns: tuple[Any, ...] = (
                TextColumn("{task.description:<12}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
            )
            self._progress = Progress(*columns, console=console(sys.stderr), transient=True)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def begin(self, name: str) -> Callable[[float], None]:
        """A scenario begins; gives what is called with the share of it that is done."""
        progress = self._progress
        if progress is None:
            return lambda _share: None
        bar = progress.add_task(name, total=1.0)
        return lambda share: progress.update(bar, completed=share)


def show_report(report: Report) -> None:
    """Print where it was measured, the figures, and how to read them."""
    machine, server, options = report.machine, report.server, report.options
    settings = ", ".join(f"{name} {value}" for name, value in server.settings.items())
    commit = "not measured: a right is missing" if server.commit_ms is None else f"{server.commit_ms:.2f} ms"
    heading("Where")
    print(
        f"  openqueue {machine.openqueue}, Python {machine.python}, {machine.system}, {machine.cores} cores"
    )
    print(f"  PostgreSQL {server.version}, {server.place}")
    print(f"  {settings}")
    print(f"  round trip {server.round_trip_ms:.2f} ms, smallest commit {commit}")
    print(
        f"  {options.workers} worker process{'es' * (options.workers > 1)}, {options.concurrency} tasks each"
    )
    heading("Figures")
    show_table(report.results, _COLUMNS, empty="Nothing was measured.")
    heading("What they mean")
    for one in report.results:
        print(f"  {one.scenario + ':':<13} {SCENARIOS[one.scenario]}.")
    print(
        "  Times are of one call (enqueue) or from before the call to the start of the task (latency).\n"
        "  Every run is counted in the database at the end. Compare figures only where the lines under\n"
        "  Where agree: the way to the server and what a commit costs decide as much as openqueue does. A\n"
        "  server on this machine shares its cores with client and workers."
    )


def _rate(one: Result) -> str:
    return "-" if one.jobs_per_second is None else f"{one.jobs_per_second:,.0f}"


def _time(of: str) -> Callable[[Result], str]:
    def text(one: Result) -> str:
        value: float | None = getattr(one, of)
        return "-" if value is None else f"{value:.1f}ms"

    return text


_COLUMNS: tuple[Column[Result], ...] = (
    Column("SCENARIO", lambda one: one.scenario),
    Column("JOBS", lambda one: f"{one.jobs:,}", rank=3, right=True),
    Column("SECONDS", lambda one: f"{one.seconds:.2f}", rank=4, right=True),
    Column("JOBS/S", _rate, rank=1, right=True),
    Column("P50", _time("p50_ms"), rank=2, right=True),
    Column("P95", _time("p95_ms"), rank=2, right=True),
    Column("P99", _time("p99_ms"), rank=2, right=True),
)
