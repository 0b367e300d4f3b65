"""`openqueue migrate`: create the schema, or bring it up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.exits import SCHEMA
from openqueue.cli.options import AsJson, DatabaseUrl, Schema, examples
from openqueue.cli.output import say, show_json
from openqueue.cli.session import run_async, settings_of, with_database
from openqueue.cli.uninstalling import uninstall as remove
from openqueue.errors import InvalidOption

if TYPE_CHECKING:
    from openqueue.db.migrations import Report, Status
    from openqueue.events import Event

__all__ = ["group"]

group = typer.Typer(add_completion=False)


@group.command(
    "migrate",
    epilog=examples(
        "openqueue migrate",
        "openqueue migrate --check || echo 'not up to date'",
        "openqueue migrate --sql > changes.sql",
        "openqueue migrate --roles",
        "openqueue migrate --uninstall",
    ),
)
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help=f"Change nothing; exit code {SCHEMA} if it is not up to date.")
    ] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Change nothing; print the SQL that would run.")] = False,
    roles: Annotated[
        bool,
        typer.Option(
            "--roles", help="Make the roles openqueue_enqueue, openqueue_worker, openqueue_admin, too."
        ),
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Remove the schema and all that is in it; asks for its name.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --uninstall: do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --uninstall: also while workers live.")
    ] = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    as_json: AsJson = False,
) -> None:
    """Create the schema, or bring it up to date.

    Safe to run everywhere at once, also while workers run.
    """
    from openqueue.db import migrations

    _refuse_together(uninstall=uninstall, check=check, sql=sql, yes=yes, force=force)
    settings = with_database(settings_of(database_url=database_url, schema_name=schema))
    assert settings.session_url is not None
    url, name = settings.session_url.get_secret_value(), settings.schema_name
    if uninstall:
        remove(url, name, roles=roles, yes=yes, force=force, as_json=as_json)
    elif sql:
        print(run_async(migrations.plan_sql(url, name, roles=roles)))
    elif check:
        _show_status(run_async(migrations.check(url, name)), as_json=as_json)
    else:
        report = run_async(migrations.migrate(url, name, emit=_tell, roles=roles))
        _show_report(report, roles=roles, as_json=as_json)


def _refuse_together(*, uninstall: bool, yes: bool, force: bool, **others: bool) -> None:
    for name, given in others.items():
        if uninstall and given:
            raise InvalidOption(f"--{name}: does not go with --uninstall.", option=f"--{name}")
    for name, given in (("yes", yes), ("force", force)):
        if given and not uninstall:
            raise InvalidOption(f"--{name}: goes with --uninstall only.", option=f"--{name}")


def _show_status(status: Status, *, as_json: bool) -> None:
    if as_json:
        show_json(
            {
                **_facts(status),
                "pending": status.pending,
                "changed": status.changed,
                "missing": status.missing,
            }
        )
    else:
        print(status)
    raise typer.Exit(0 if status.usable else SCHEMA)


def _show_report(report: Report, *, roles: bool, as_json: bool) -> None:
    if as_json:
        done = {"applied": report.applied, "engine": report.engine, "partitions": report.partitions}
        show_json({**_facts(report.status), "done": {**done, "roles": report.roles} if roles else done})
        return
    for file in report.applied:
        print(f"Applied {file}.")
    if report.engine:
        print("Replaced the engine's functions and views.")
    if report.partitions:
        print(f"Made {len(report.partitions)} partitions of the history.")
    for role in report.roles:
        print(f"Made role {role}.")
    print(report.status)


def _facts(status: Status) -> dict[str, Any]:
    return {
        "schema": status.schema,
        "state": str(status.state),
        "migration": status.applied,
        "wanted": status.wanted,
        "usable": status.usable,
    }


def _tell(event: Event) -> None:
    from openqueue.db.events import MigrationWaiting

    if isinstance(event, MigrationWaiting):
        say(f"Waiting since {event.seconds:.0f} s: {event.why}.")
