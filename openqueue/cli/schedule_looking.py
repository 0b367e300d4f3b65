"""`openqueue schedule list`, `show` and `next`: looking at schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from openqueue.cli.completing import complete_schedule
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema
from openqueue.cli.output import console, say, show_json, show_table
from openqueue.cli.schedule_page import COLUMNS, in_zone, show_page, told
from openqueue.cli.schedule_values import FLAGS
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.values import flags, read_lasting, read_whole
from openqueue.errors import InvalidOption

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["COMMANDS", "EXAMPLES"]

TICKS: Final = 10
"""Ticks on the page of a schedule."""

MOST: Final = 10_000


def list_schedules(
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List the schedules: state, next time, rule, task."""
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(_list(settings, as_json=as_json))


def show(
    key: Annotated[
        str,
        typer.Argument(metavar="KEY", help="Its key.", show_default=False, autocompletion=complete_schedule),
    ],
    ticks: Annotated[str, typer.Option("--ticks", metavar="N", help="So many ticks.")] = str(TICKS),
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Show all that is known of a schedule: what it means, its next times, what became of the last ones."""
    limit = read_whole(ticks, "--ticks", 1, MOST)
    with flags(**FLAGS):
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        run_async(_show(settings, key, limit, as_json=as_json))


def next_times(
    *,
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="Its key; not needed with --cron or --every.",
            show_default=False,
            autocompletion=complete_schedule,
        ),
    ] = "",
    n: Annotated[str, typer.Option("-n", metavar="N", help="How many.")] = "5",
    cron: Annotated[str | None, typer.Option(metavar="CRON", help="Of one that does not exist yet.")] = None,
    every: Annotated[str | None, typer.Option(metavar="DURATION", help="The same, of an interval.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Whose clock --cron is about.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Print the next times of a schedule, or of a cron expression that you think about.

    By the schedule's clock; on a terminal that is wide enough, by yours, too.
    """
    count = read_whole(n, "-n", 1, MOST)
    rule = {"cron": cron, "every": every and read_lasting(every, "--every"), "timezone": timezone}
    rule = {option: value for option, value in rule.items() if value is not None}
    if not key and not rule:
        raise InvalidOption("KEY: which schedule? Give its key, or --cron or --every.", option="KEY")
    with flags(**FLAGS):
        if rule:
            from openqueue.scheduler.asked import asked

            asked(rule)
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        run_async(_next(settings, key, count, rule, as_json=as_json))


async def _list(settings: Settings, *, as_json: bool) -> None:
    async with client(settings) as opened:
        found = await opened.schedules.list()
    if as_json:
        show_json([told(info) for info in found])
    else:
        empty = "There is no schedule. Add one: openqueue schedule add KEY TASK --cron '0 2 * * *'"
        show_table(found, COLUMNS, empty=empty)


async def _show(settings: Settings, key: str, limit: int, *, as_json: bool) -> None:
    async with client(settings) as opened:
        info = await opened.schedules.get(key)
        coming = [] if info.invalid is not None else await opened.schedules.next(key)
        ticks = await opened.schedules.ticks(key, limit=limit)
    if as_json:
        show_json({**told(info), "coming": coming, "ticks": ticks})
    else:
        show_page(info, coming, ticks)


async def _next(settings: Settings, key: str, n: int, rule: Any, *, as_json: bool) -> None:
    async with client(settings) as opened:
        times = await opened.schedules.next(key, n, **rule)
        info = await opened.schedules.get(key) if key and not rule else None
    if as_json:
        show_json(times)
        return
    zone = info.timezone if info else rule.get("timezone", "UTC")
    wide = console().width >= 2 * len("Sun 2026-11-22 02:00:00 +0000  ")
    for at in times:
        here = at.astimezone().strftime("  (%Y-%m-%d %H:%M:%S here)")
        print(in_zone(at, zone) + (here if wide else ""))
    if not times:
        say("Nothing of it will be due again.")
    if info is not None and info.status == "paused" and info.paused_until is None:
        say("It is paused: these are the times if it were resumed now.")


COMMANDS: Final[dict[str, Callable[..., None]]] = {"list": list_schedules, "show": show, "next": next_times}
EXAMPLES: Final = {
    "list": ("openqueue schedule list", "openqueue schedule list --json | jq '.[].next_at'"),
    "show": ("openqueue schedule show nightly",),
    "next": (
        "openqueue schedule next nightly -n 10",
        "openqueue schedule next --cron '30 2 * * *' --timezone America/New_York",
    ),
}
