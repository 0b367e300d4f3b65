"""`openqueue schedule`: add schedules and edit them, and act on those that there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from openqueue.cli import schedule_looking as looking
from openqueue.cli.completing import complete_task
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.payload import read_payload
from openqueue.cli.schedule_acting import act_schedule, keep_schedule, remove_schedule, trigger_schedule
from openqueue.cli.schedule_backfill import backfill_from
from openqueue.cli.schedule_options import (
    AllowUnknown,
    CatchUp,
    ConcurrencyKey,
    Cron,
    Deadline,
    End,
    Every,
    Jitter,
    Key,
    MaxAttempts,
    MaxRuns,
    Meta,
    Overlap,
    Priority,
    Queue,
    Start,
    Tag,
    Timezone,
)
from openqueue.cli.schedule_values import FLAGS, Words, read_until, read_words_of
from openqueue.cli.session import run_async, settings_of
from openqueue.cli.values import flags, optional, read_whole
from openqueue.errors import InvalidOption

__all__ = ["group"]

group = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run tasks at times: add, list, show, next, pause, trigger, backfill …",
)


@group.command(
    "add",
    epilog=examples(
        "openqueue schedule add nightly reports.nightly --cron '0 2 * * *' --timezone Europe/Berlin",
        """openqueue schedule add sync shop.sync '{"full": false}' --every 15m --overlap skip""",
    ),
)
def add(
    *,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its key; one that exists is replaced.")],
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task.", autocompletion=complete_task)],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="Its arguments: a JSON object; - reads standard input.")
    ] = "{}",
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = None,
    start: Start = None,
    end: End = None,
    max_runs: MaxRuns = None,
    catch_up: CatchUp = None,
    overlap: Overlap = None,
    jitter: Jitter = None,
    queue: Queue = None,
    priority: Priority = None,
    max_attempts: MaxAttempts = None,
    deadline: Deadline = None,
    meta: Meta = None,
    tag: Tag = None,
    concurrency_key: ConcurrencyKey = None,
    allow_unknown: AllowUnknown = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Add a schedule, or replace the one of that key, and say when it will run."""
    from openqueue.scheduler.asked import asked

    given = Words(
        (cron, every, timezone, start, end, max_runs, catch_up, overlap, jitter),
        (queue, priority, max_attempts, deadline, meta, tag, concurrency_key),
    )
    with flags(**FLAGS):
        words = read_words_of(given)
        asked(words)  # before a database is asked for anything
        arguments = read_payload(payload)
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        more: Any = {**words, "allow_unknown": allow_unknown}
        run_async(keep_schedule(settings, lambda one: one.add(key, task, arguments, **more), as_json=as_json))


@group.command(
    "update",
    epilog=examples(
        "openqueue schedule update nightly --cron '0 3 * * *' --max-runs none",
        """openqueue schedule update nightly --input '{"day": "today"}'""",
    ),
)
def update(
    *,
    key: Key,
    task: Annotated[str | None, typer.Option(help="Another task.", autocompletion=complete_task)] = None,
    payload: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="Other arguments; all of them.")
    ] = None,
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = None,
    start: Start = None,
    end: End = None,
    max_runs: MaxRuns = None,
    catch_up: CatchUp = None,
    overlap: Overlap = None,
    jitter: Jitter = None,
    queue: Queue = None,
    priority: Priority = None,
    max_attempts: MaxAttempts = None,
    deadline: Deadline = None,
    meta: Meta = None,
    tag: Tag = None,
    concurrency_key: ConcurrencyKey = None,
    allow_unknown: AllowUnknown = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Change what is given; all else stays. The word none takes an option back to its default."""
    given = Words(
        (cron, every, timezone, start, end, max_runs, catch_up, overlap, jitter),
        (queue, priority, max_attempts, deadline, meta, tag, concurrency_key),
    )
    with flags(**FLAGS):
        words = read_words_of(given, none=True)
        if task is not None:
            words["task"] = task
        if payload is not None:
            words["input"] = read_payload(payload)
        if not words:
            raise InvalidOption(
                "Nothing is to be changed: give an option, such as --cron '0 3 * * *'.", option="KEY"
            )
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        more: Any = {**words, "allow_unknown": allow_unknown}
        run_async(keep_schedule(settings, lambda one: one.update(key, **more), as_json=as_json))


@group.command(
    "pause",
    epilog=examples("openqueue schedule pause nightly --until tomorrow --reason 'the disk is full'"),
)
def pause(
    key: Key,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="2h, tomorrow, 2026-12-24; without it, until it is resumed."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Shown with it.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Pause a schedule; what runs goes on. Nothing is missed, but what --catch-up makes up for."""
    moment = optional(read_until, until, "--until")
    with flags(**FLAGS):
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        run_async(
            act_schedule(
                settings, key, lambda one: one.schedules.pause(key, moment, reason=reason), as_json=as_json
            )
        )


@group.command("resume", epilog=examples("openqueue schedule resume nightly"))
def resume(
    key: Key,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Resume a paused schedule."""
    with flags(**FLAGS):
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        run_async(act_schedule(settings, key, lambda one: one.schedules.resume(key), as_json=as_json))


@group.command("trigger", epilog=examples("openqueue schedule trigger nightly"))
def trigger(
    key: Key,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Fire a schedule now, also a paused one, and print the run's id.

    Its overlap policy holds, and its times stay as they are.
    """
    with flags(**FLAGS):
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        run_async(trigger_schedule(settings, key, as_json=as_json))


@group.command(
    "backfill",
    epilog=examples("openqueue schedule backfill nightly --from 2026-11-01 --to 2026-11-07"),
)
def backfill(
    *,
    key: Key,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="The first time, or its day.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The last time, or its day, included.")],
    rate: Annotated[str, typer.Option(metavar="N", help="At most so many runs in a second.")] = "100",
    limit: Annotated[str, typer.Option(metavar="N", help="Refuse a range with more times.")] = "10000",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Enqueue a run for each time of a range that has none.

    To repeat it adds nothing; one that was interrupted goes on when it is repeated. Times are of the
    schedule's zone, unless they name one.
    """
    each = read_whole(rate, "--rate", 1, 10_000), read_whole(limit, "--limit", 1, 10_000_000)
    with flags(**FLAGS):
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        run_async(backfill_from(settings, key, (start, end), each, as_json=as_json))


@group.command("remove", epilog=examples("openqueue schedule remove nightly"))
def remove(
    key: Key,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Remove a schedule. Its runs, and what became of its ticks, stay."""
    with flags(**FLAGS):
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        run_async(remove_schedule(settings, key, as_json=as_json))


for name in looking.COMMANDS:
    group.command(name, epilog=examples(*looking.EXAMPLES[name]))(looking.COMMANDS[name])
