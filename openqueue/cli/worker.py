"""`openqueue worker`: run tasks until told to stop."""

from __future__ import annotations

import os
import signal
from threading import Thread
from typing import Annotated

import typer

from openqueue.cli.completing import complete_queue
from openqueue.cli.options import DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.session import require_database, settings_of

__all__ = ["group"]

group = typer.Typer(add_completion=False)

_TASKS, _LOAD, _LOGS = "Tasks", "Load", "Logs and health"


@group.command(
    "worker",
    epilog=examples(
        "openqueue worker --concurrency 200",
        "openqueue worker --queue mail:5 --queue reports --health 0.0.0.0:9464",
        "openqueue worker --processes 4 --health on",
        "openqueue worker --once",
    ),
)
def worker(
    *,
    dirs: Annotated[
        list[str] | None, typer.Option("--dir", help="Where tasks are (tasks).", rich_help_panel=_TASKS)
    ] = None,
    modules: Annotated[
        list[str] | None,
        typer.Option("--module", help="Modules with tasks, by import name.", rich_help_panel=_TASKS),
    ] = None,
    queues: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            metavar="NAME[:N]",
            help="Only these queues, at most N of its runs at a time.",
            rich_help_panel=_LOAD,
            autocompletion=complete_queue,
        ),
    ] = None,
    concurrency: Annotated[
        str | None, typer.Option(metavar="N", help="Async tasks at a time (100).", rich_help_panel=_LOAD)
    ] = None,
    threads: Annotated[
        str | None, typer.Option(metavar="N", help="Sync tasks at a time (16).", rich_help_panel=_LOAD)
    ] = None,
    task_processes: Annotated[
        str | None,
        typer.Option(metavar="N", help='Tasks with executor="process" at a time (4).', rich_help_panel=_LOAD),
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Workers, each in a process of its own; every other limit is for each of them (1).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its name in lists; of several workers NAME-1, NAME-2 ….")
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long running tasks may take to end at shutdown (30s)."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Run what is ready, then exit.")] = False,
    health: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve /live and /ready there.", rich_help_panel=_LOGS),
    ] = None,
    metrics: Annotated[
        bool | None,
        typer.Option(
            "--metrics/--no-metrics",
            help="Serve /metrics for Prometheus beside them.",
            show_default=False,
            rich_help_panel=_LOGS,
        ),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="auto|console|json", help="How logs look.", rich_help_panel=_LOGS)
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning, error.", rich_help_panel=_LOGS)
    ] = None,
    stop_with_stdin: Annotated[bool, typer.Option("--stop-with-stdin", hidden=True)] = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Run tasks until told to stop.

    Ctrl-C or SIGTERM lets what runs finish (see --grace), a second one leaves at once. Tasks are those of
    the files in tasks/, or where --dir and --module say.

    With --processes N a parent starts N workers, one for each core say, starts one again that has ended,
    passes signals on and serves health for all of them.
    """
    settings = settings_of(
        dirs=dirs or None,
        modules=modules or None,
        queues=queues or None,
        concurrency=concurrency,
        threads=threads,
        task_processes=task_processes,
        processes=processes,
        name=name,
        grace=grace,
        health=health,
        metrics=metrics,
        log_format=log_format,
        log_level=log_level,
        database_url=database_url,
        schema_name=schema,
        namespace=namespace,
    )
    if stop_with_stdin:
        Thread(target=_stop_with_stdin, daemon=True).start()
    require_database(settings)
    if settings.processes > 1:
        from openqueue.cli.fleet import run_fleet

        raise typer.Exit(run_fleet(settings, once=once))
    from openqueue.cli.working import run_one

    raise typer.Exit(run_one(settings, once=once))


def _stop_with_stdin() -> None:
    """End as with SIGTERM once standard input does, that is when whoever started this process is gone."""
    while os.read(0, 1024):  # not through sys.stdin, whose lock the interpreter wants at its end
        pass
    os.kill(os.getpid(), signal.SIGTERM)
