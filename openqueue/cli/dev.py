"""`openqueue dev`: everything that is needed to write tasks, in one command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openqueue.cli.options import DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import say
from openqueue.cli.session import settings_of

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)

_FIRST_TASK = """\
There is no {missing} yet. Write a first task in {directory}/hello.py:

    from openqueue import task

    @task
    async def hello(name: str) -> str:
        return f"Hello, {{name}}!"

and then, in another terminal:  openqueue enqueue hello.hello '{{"name": "world"}}' --watch
"""


@group.command(
    "dev", epilog=examples("openqueue dev", "openqueue dev --module shop.tasks", "openqueue dev --no-reload")
)
def dev(
    *,
    dirs: Annotated[list[str] | None, typer.Option("--dir", help="Where tasks are (tasks).")] = None,
    modules: Annotated[
        list[str] | None, typer.Option("--module", help="Modules with tasks, by import name.")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Start the worker again when a file changes.")
    ] = True,
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="How long running tasks may take to end then.")
    ] = "2s",
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning, error.")] = "debug",
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Start PostgreSQL, migrate, and run a worker that follows your changes.

    The PostgreSQL is one of your own, kept in .openqueue/postgres, unless a database is configured. The
    other commands find it when they are called in the same directory.
    """
    settings = settings_of(
        dirs=dirs or None,
        modules=modules or None,
        grace=grace,
        log_level=log_level,
        database_url=database_url,
        schema_name=schema,
        namespace=namespace,
    )
    with _database(settings) as url:
        raise typer.Exit(_run(settings, url, reload=reload))


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The configured database, or a server of our own for as long as the block lasts."""
    from openqueue.dev.embedded import DEFAULT_DIRECTORY, EmbeddedPostgres, is_address_of_ours

    url = settings.database_url.get_secret_value() if settings.database_url else None
    if url is not None and not is_address_of_ours(url):
        say("PostgreSQL: the one that is configured.")
        yield url
        return
    with EmbeddedPostgres() as server:
        say(f"PostgreSQL: your own, in {DEFAULT_DIRECTORY}. Programs of yours find it after")
        say(f"  export OPENQUEUE_DATABASE_URL='{server.dsn()}'")
        yield server.dsn()


def _run(settings: Settings, url: str, *, reload: bool) -> int:
    import asyncio

    from openqueue.db.migrations import migrate
    from openqueue.dev.reload import can_watch

    report = asyncio.run(migrate(url, settings.schema_name))
    say(str(report.status))
    watching = reload and can_watch()
    if reload and not watching:
        say("Changes are not followed: pip install 'openqueue[reload]'")
    if settings.dirs and not settings.modules:
        _show_first_task(settings.dirs)
    say("Stop with Ctrl-C.", "")
    return asyncio.run(_supervise(_command(settings), url, watching=watching))


def _show_first_task(directories: Sequence[str]) -> None:
    """Show how to begin, where there is nothing yet."""
    from openqueue.tasks.discovery import task_files

    first = directories[0]
    if not Path(first).is_dir():
        say("", _FIRST_TASK.format(missing=f"directory {first}/", directory=first))
    elif not any(any(task_files(Path(one))) for one in directories if Path(one).is_dir()):
        say("", _FIRST_TASK.format(missing=f"task in {first}/", directory=first))


async def _supervise(command: list[str], url: str, *, watching: bool) -> int:
    from openqueue.dev.reload import Supervisor, changes

    env = {**os.environ, "OPENQUEUE_DATABASE_URL": url}
    return await Supervisor(command, env, changes(Path.cwd()) if watching else None, say).run()


def _command(settings: Settings) -> list[str]:
    """The worker's command line; the database's URL, a secret, goes through the environment."""
    flags = {
        "--dir": settings.dirs,
        "--module": settings.modules,
        "--grace": [f"{settings.grace.total_seconds():g}"],
        "--log-level": [settings.log_level],
        "--schema": [settings.schema_name],
        "--namespace": [settings.namespace],
    }
    words = [word for flag, values in flags.items() for value in values for word in (flag, value)]
    return [sys.executable, "-P", "-m", "openqueue", "worker", "--stop-with-stdin", *words]
