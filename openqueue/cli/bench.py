"""`openqueue bench`: what openqueue does on this machine and this database."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from openqueue.cli.exits import INTERRUPTED
from openqueue.cli.options import AsJson, DatabaseUrl, examples
from openqueue.cli.output import say, show_json
from openqueue.cli.session import run_async, settings_of, with_database
from openqueue.errors import InvalidOption, did_you_mean

if TYPE_CHECKING:
    from openqueue.bench.report import Options

__all__ = ["group"]

T = TypeVar("T")

group = typer.Typer(add_completion=False)


@group.command(
    "bench",
    epilog=examples(
        "openqueue bench",
        "openqueue bench --scenario drain --workers 4 --jobs 200000",
        "openqueue bench --json > before.json",
    ),
)
def bench(
    scenarios: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario",
            metavar="NAME",
            help="Only this one; may be repeated: enqueue-many, enqueue, drain, latency, mixed.",
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=10, max=10_000_000, help="Jobs of enqueue-many and drain; enqueue: a tenth.")
    ] = 50_000,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="How long latency and mixed take.")
    ] = 10.0,
    concurrency: Annotated[
        str | None, typer.Option(metavar="N", help="Tasks at a time in a worker (100).")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
    as_worker: Annotated[bool, typer.Option("--as-worker", hidden=True)] = False,
) -> None:
    """Measure openqueue on this machine and your database.

    Everything happens in schemas of its own, which are dropped at the end, also after Ctrl-C. Your own runs
    are not touched, but what else the server does is slowed down meanwhile.
    """
    if as_worker:
        from openqueue.bench.worker import work

        raise typer.Exit(run_async(work()))
    from openqueue.bench.report import Options

    named = _chosen(scenarios)
    settings = with_database(settings_of(database_url=database_url, concurrency=concurrency))
    chosen = Options(named, jobs, seconds, settings.concurrency, workers)
    _measure(settings, chosen, as_json=as_json)


def _chosen(names: list[str] | None) -> tuple[str, ...]:
    from openqueue.bench.report import SCENARIOS

    for name in names or ():
        if name not in SCENARIOS:
            near = did_you_mean(name, SCENARIOS) or f" There are: {', '.join(SCENARIOS)}."
            raise InvalidOption(f"--scenario: there is no {name!r}.{near}", option="--scenario")
    return tuple(name for name in SCENARIOS if not names or name in names)


def _measure(settings: Any, options: Options, *, as_json: bool) -> None:
    from openqueue.bench.run import bench as measure
    from openqueue.cli.bench_page import Bars, show_report

    with Bars() as bars:
        report = _until_signalled(measure(settings, options, tell=say, begin=bars.begin))
    if as_json:
        show_json(report)
    else:
        show_report(report)


def _until_signalled(doing: Coroutine[Any, Any, T]) -> T:
    """Run it to its end. Ctrl-C and SIGTERM let it put everything away first; then the process ends so."""
    heard: list[int] = []

    async def attended() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def hear(number: int) -> None:
            if not heard:
                say("Putting everything away …")
            heard.append(number)
            task.cancel()

        for one in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(one, hear, one)
            except NotImplementedError:  # on Windows Ctrl-C cancels by itself
                break
        return await doing

    try:
        return run_async(attended())
    except asyncio.CancelledError:
        if heard[0] == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        raise typer.Exit(INTERRUPTED) from None
