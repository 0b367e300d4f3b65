"""`openqueue doctor`: what is wrong, why it matters, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.completing import complete_check
from openqueue.cli.exits import CRITICAL, WARNING
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.session import run_async, settings_of
from openqueue.errors import ConfigError, InvalidOption, OpenQueueError, did_you_mean

if TYPE_CHECKING:
    from openqueue.doctor.case import Case
    from openqueue.doctor.findings import Examination
    from openqueue.settings import Settings

__all__ = ["case_of", "group"]

group = typer.Typer(add_completion=False)


@group.command(
    "doctor",
    epilog=examples(
        "openqueue doctor",
        "openqueue doctor --only backlog,workers",
        "openqueue doctor --json | jq -r '.findings[].what'",
    ),
)
def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK[,CHECK]",
            help="Only these checks; --list names them.",
            autocompletion=complete_check,
        ),
    ] = None,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks and exit.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also say what was found to be well.")
    ] = False,
    dirs: Annotated[list[str] | None, typer.Option("--dir", help="Where tasks are (tasks).")] = None,
    modules: Annotated[
        list[str] | None, typer.Option("--module", help="Modules with tasks, by import name.")
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Look at everything; say what is wrong, why it matters, and what mends it.

    Settings, connections, the server, the schema, what holds the database up, workers, tasks, queues and
    schedules. Changes nothing. For monitoring: the exit code is 0 when all is well (notices count as well),
    9 for warnings, 10 when something is critical.
    """
    from openqueue.cli.doctor_page import print_checks, show_examination

    if list_checks:
        print_checks(as_json=as_json)
        return
    wanted = _names(only or [])
    settings = settings_of(
        dirs=dirs or None,
        modules=modules or None,
        database_url=database_url,
        schema_name=schema,
        namespace=namespace,
    )
    found = run_async(_examine(case_of(settings), wanted))
    show_examination(found, as_json=as_json, verbose=verbose)
    if code := _code(found):
        raise typer.Exit(code)


def _names(given: list[str]) -> set[str]:
    from openqueue.doctor.checks import NAMES

    names = {name.strip() for one in given for name in one.split(",") if name.strip()}
    for name in sorted(names - {*NAMES}):
        near = did_you_mean(name, NAMES) or f" There are: {', '.join(NAMES)}."
        raise InvalidOption(f"--only: there is no check {name!r}.{near}", option="--only")
    return names


async def _examine(case: Case, only: set[str]) -> Examination:
    from openqueue.doctor.examination import examine

    return await examine(case, only)


def case_of(settings: Settings) -> Case:
    """What the settings say of an installation, and which tasks are found where they say."""
    from openqueue.cli.session import with_database
    from openqueue.doctor.case import Case
    from openqueue.settings import unknown_variables

    no_url = ""
    try:
        settings = with_database(settings)
    except ConfigError as error:
        no_url = str(error)
    tasks, fault = _tasks(settings)
    return Case(
        url=settings.database_url if not no_url else None,
        no_url=no_url,
        schema=settings.schema_name,
        namespace=settings.namespace,
        listen_url=settings.listen_dsn,
        pooled=settings.pooler == "transaction",
        tasks=tasks,
        tasks_fault=fault,
        looked_in=[*settings.dirs, *settings.modules],
        silence=3 * settings.heartbeat.total_seconds(),
        poll=settings.poll_interval.total_seconds(),
        retention=bool(getattr(settings, "retention", None)),
        remarks=tuple(unknown_variables(type(settings))),
    )


def _tasks(settings: Settings) -> tuple[list[str] | None, str]:
    """The names of the tasks that are found, or why they cannot be imported. A missing `tasks` is none."""
    from openqueue.app import discover_tasks

    if not settings.modules and "dirs" not in settings.model_fields_set and not _has_default(settings):
        return [], ""
    try:
        return list(discover_tasks(settings).names), ""
    except OpenQueueError as error:
        return None, str(error).strip().splitlines()[0]


def _has_default(settings: Settings) -> bool:
    from pathlib import Path

    return any(Path(one).is_dir() for one in settings.dirs)


def _code(found: Examination) -> int:
    from openqueue.doctor.findings import Severity

    codes: dict[Any, int] = {Severity.WARNING: WARNING, Severity.CRITICAL: CRITICAL}
    return codes.get(found.worst, 0)
