"""`openqueue runs prune`: remove finished runs that need not be kept any longer."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.completing import complete_queue, complete_task
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema
from openqueue.cli.output import Column, plain, say, show_json, show_table
from openqueue.cli.session import client, run_async, settings_of, with_database
from openqueue.cli.unknown import tell_unknown
from openqueue.cli.values import flags, optional, read_age, read_whole, read_words
from openqueue.durations import format_duration
from openqueue.errors import InvalidOption, did_you_mean

if TYPE_CHECKING:
    from openqueue.cluster.retention import Dropped, Pruned, Retention, Size
    from openqueue.runs.filter import RunFilter
    from openqueue.settings import Settings

__all__ = ["EXAMPLES", "prune"]

EXAMPLES = (
    "openqueue runs prune --older-than 90d --dry-run",
    "openqueue runs prune --older-than 30d --status completed --archive runs-2026-11.jsonl.gz",
    "openqueue runs prune  # by what the settings say of retention",
)

ENDED = ("completed", "failed", "cancelled", "expired")


def prune(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="That ended longer ago: 90d; without it, what the settings say."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="Only completed, failed, cancelled or expired; several with commas.",
            autocompletion=lambda: list(ENDED),
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only of this task.", autocompletion=complete_task)] = None,
    queue: Annotated[
        str | None, typer.Option(help="Only of this queue.", autocompletion=complete_queue)
    ] = None,
    whole_months: Annotated[
        bool, typer.Option("--whole-months", help="Only months that can be dropped as a whole.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    batch: Annotated[str, typer.Option(metavar="N", help="Runs in a transaction.")] = "1000",
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write them there first, a new file: JSON lines, gzipped; or, named ….parquet, Parquet.",
        ),
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Remove finished runs that ended long ago, with their attempts and logs; for cron.

    Never one that is unfinished, nor the newest run of a schedule, nor one that an idempotency key answers.
    Months in which all may go are dropped as a whole, others are emptied in batches; neither enqueues nor
    workers wait for it. Interrupted, it goes on when it is called again.
    """
    from openqueue.cluster.retention import Retention
    from openqueue.runs.filter import RunFilter

    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    if older_than is None:
        if status or task or queue or whole_months:
            raise InvalidOption(
                "--older-than: is missing. Give how long ago a run must have ended, such as 90d.",
                option="--older-than",
            )
        chosen = Retention.of(settings.retention)
        if not chosen:
            raise InvalidOption(
                "--older-than: is missing, and no setting says how long runs are kept. Give it, such as 90d,"
                " or write [retention] in openqueue.toml.",
                option="--older-than",
            )
    else:
        chosen = _asked(older_than, _statuses(status or ()), task, queue, whole_months=whole_months)
    most = read_whole(batch, "--batch", 1, 100_000)
    named = RunFilter(task=task, queue=queue)
    with flags(archive="--archive"):
        done = run_async(_prune(settings, chosen, most, archive, named, dry_run=dry_run))
    if as_json:
        show_json(_flat(done))
    else:
        _show(done, archive)


def _asked(
    older_than: str, statuses: tuple[str, ...], task: str | None, queue: str | None, *, whole_months: bool
) -> Retention:
    from openqueue.cluster.retention import Retention, Rule

    age = optional(read_age, older_than, "--older-than")
    rules = [Rule(older_than=age, status=status, task=task, queue=queue) for status in statuses or (None,)]
    everything = not (statuses or task or queue)
    return Retention(tuple(rules), age if everything else None, whole_months)


def _statuses(texts: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    found = read_words(texts)
    for word in found:
        if word not in ENDED:
            near = did_you_mean(word, ENDED) or f" Give some of {', '.join(ENDED)}."
            raise InvalidOption(f"--status: {word!r} is no end of a run.{near}", option="--status")
    return found


async def _prune(
    settings: Settings,
    chosen: Retention,
    batch: int,
    archive: Path | None,
    named: RunFilter,
    *,
    dry_run: bool,
) -> Pruned:
    from openqueue.app import pruner_of
    from openqueue.events import Events

    def tell(done: Pruned) -> None:
        if sys.stderr.isatty():
            print(f"\r{done.removed:,} runs", end="", file=sys.stderr, flush=True)

    settings = with_database(settings)  # the pruner goes there on a session of its own
    async with client(settings) as opened:
        pruner = pruner_of(settings, opened.database, Events(), batch=batch)
        try:
            done = await pruner.prune(chosen, dry_run=dry_run, archive=archive, progress=tell)
        finally:
            if sys.stderr.isatty():
                say("\r")
        if not done.removed:
            await tell_unknown(opened, named)
        return done


def _flat(done: Pruned) -> dict[str, Any]:
    found: dict[str, Any] = plain(done)
    return {**found, "seconds": round(done.seconds, 3)}


def _show(done: Pruned, archive: Path | None) -> None:
    would = "would be " if done.dry_run else ""
    for month in done.months:
        _show_month(month, would)
    for name, why in done.kept.items():
        print(f"{'Months' if name == '*' else name}: not dropped as a whole, {why}")
    ends = ", ".join(f"{status} {count:,}" for status, count in sorted(done.runs.items()))
    print(f"{done.removed:,} runs {would}removed one by one{f' ({ends})' if ends else ''}")
    if done.attempts:
        print(f"{done.attempts:,} attempts and {done.log_lines:,} lines of log went with them")
    rest = {"ticks of schedules": done.ticks, "idempotency keys": done.keys, "workers": done.workers}
    for what, count in rest.items():
        if count:
            print(f"{count:,} {what} removed")
    if archive is not None and not done.dry_run:
        print(
            f"{done.archived:,} runs written to {archive}"
            if done.archived
            else f"{archive}: nothing to write"
        )
    if not done.dry_run:
        print()
        rows = [(name, size, done.after[name]) for name, size in done.before.items() if name in done.after]
        show_table(rows, _COLUMNS, empty="")
        took = format_duration(timedelta(seconds=round(done.seconds, 1)))
        print(f"\nin {took}; dead rows go with (auto)vacuum")


def _show_month(month: Dropped, would: str) -> None:
    about = f"about {month.rows:,} runs, {_bytes(month.bytes)}"
    if month.waits:
        print(f"{month.month}: not dropped yet, {month.waits} ({about})")
    else:
        print(f"{month.month}: {would}dropped as a whole ({about})")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


Row = tuple[str, "Size", "Size"]

_COLUMNS: tuple[Column[Row], ...] = (
    Column("RELATION", lambda row: row[0], least=12),
    Column("ROWS BEFORE", lambda row: f"{row[1].rows:,}", rank=3, right=True),
    Column("AFTER", lambda row: f"{row[2].rows:,}", rank=2, right=True),
    Column("SIZE BEFORE", lambda row: _bytes(row[1].bytes), rank=4, right=True),
    Column("AFTER ", lambda row: _bytes(row[2].bytes), rank=1, right=True),
    Column("DEAD ROWS", lambda row: f"{row[2].dead:,}", rank=5, right=True),
)
