"""What is printed of schedules: the list, the page of one, and when it runs next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from openqueue.cli.output import Column, console, cut, heading, plain, show_table, when
from openqueue.durations import format_duration
from openqueue.redaction import printable

if TYPE_CHECKING:
    from openqueue.scheduler.model import ScheduleInfo, TickInfo

__all__ = ["COLUMNS", "TICKS", "in_zone", "meaning", "show_coming", "show_page", "told"]


def told(info: ScheduleInfo) -> dict[str, Any]:
    """A schedule as JSON: what is known of it, and its rule in words."""
    return {**plain(info), "meaning": info.meaning}


def meaning(info: ScheduleInfo) -> str:
    """Its rule in words, with the zone whose clock is meant."""
    if info.invalid is not None:
        return f"{info.cron or info.every} cannot be computed: {info.invalid}"
    return info.meaning if info.cron is None else f"{info.meaning}, {info.timezone} time"


def show_coming(info: ScheduleInfo) -> None:
    """Print what a schedule means, and when it runs next: by its own clock, and by the reader's."""
    print(f"  {meaning(info)}")
    if info.status == "paused":
        until = "it is resumed" if info.paused_until is None else when(info.paused_until)
        print(f"  paused until {until}" + (f": {info.pause_reason}" if info.pause_reason else ""))
    if info.next_at is not None:
        print(f"  next  {in_zone(info.next_at, info.timezone)}")
        print(f"        {_here(info.next_at)}")
    elif info.status == "finished":
        print("  finished: nothing of it will be due again")


def in_zone(moment: datetime, timezone: str) -> str:
    """A moment by the clock of a zone: `2026-11-22 02:00:00 CET (Sunday)`."""
    return moment.astimezone(ZoneInfo(timezone)).strftime("%a %Y-%m-%d %H:%M:%S %Z")


def _here(moment: datetime) -> str:
    away = max(moment - datetime.now(UTC), timedelta(0))
    rounded = timedelta(
        seconds=round(away.total_seconds() / 60) * 60
        if away.days < 1
        else 3600 * (away // timedelta(hours=1))
    )
    short = timedelta(seconds=round(away.total_seconds()))
    shown = format_duration(rounded if away > timedelta(minutes=2) else short)
    return moment.astimezone().strftime("%a %Y-%m-%d %H:%M:%S %Z") + f" here, in {shown}"


def show_page(info: ScheduleInfo, coming: Sequence[datetime], ticks: Sequence[TickInfo]) -> None:
    """Print all that is known of a schedule."""
    from rich.text import Text

    page = console()
    title = Text(f"{printable(info.key)}  ", style="bold")
    title.append(printable(info.task)).append(f"  {info.status}")
    page.print(title, overflow="fold")
    for name, value in _facts(info):
        page.print(Text(f"  {name:<10}", style="dim").append(printable(value), style="not dim"))
    if coming:
        heading("Next" if info.status != "paused" or info.paused_until else "Next, if it were resumed")
        for at in coming:
            line = f"{in_zone(at, info.timezone)}  {_here(at)}" if page.width > 100 else _here(at)
            print(f"  {cut(line, page.width - 2)}")
    if ticks:
        heading("Ticks")
        show_table(ticks, TICKS, empty="")


def _facts(info: ScheduleInfo) -> Iterator[tuple[str, str]]:
    yield "when", meaning(info)
    if info.cron is not None:
        yield "cron", info.cron
    yield "timezone", info.timezone
    for name, moment in (("start", info.start_at), ("end", info.end_at)):
        if moment is not None:
            yield name, when(moment)
    if info.status == "paused":
        until = "until it is resumed" if info.paused_until is None else f"until {when(info.paused_until)}"
        yield "paused", until + (f": {info.pause_reason}" if info.pause_reason else "")
    yield "input", json.dumps(info.input, ensure_ascii=False)
    yield "overlap", info.overlap + (", one waits" if info.waiting else "")
    yield "catch up", str(info.catch_up)
    if info.jitter:
        yield "jitter", format_duration(info.jitter)
    yield "runs", f"{info.fired} on time" + (f" of {info.max_runs}" if info.max_runs else "")
    yield from _of_its_runs(info)
    yield "source", "the code declares it" if info.source == "declarative" else "added by hand"
    yield "updated", when(info.updated_at)
    if info.last_error:
        yield "error", info.last_error


def _of_its_runs(info: ScheduleInfo) -> Iterator[tuple[str, str]]:
    for name in ("queue", "priority", "max_attempts"):
        if getattr(info, name) is not None:
            yield name.replace("max_attempts", "attempts"), str(getattr(info, name))
    if info.deadline is not None:
        yield "deadline", format_duration(info.deadline)
    if info.concurrency_key:
        yield "key", info.concurrency_key
    if info.tags:
        yield "tags", ", ".join(info.tags)
    if info.meta:
        yield "meta", json.dumps(info.meta, ensure_ascii=False)


def _became(tick: TickInfo) -> str:
    if tick.run_id is None:
        many = f" ({tick.missed})" if tick.missed and tick.missed > 1 else ""
        return f"{tick.skipped}{many}" + (f": {tick.error}" if tick.error else "")
    flags = [name for name in ("catch_up", "backfill", "manual") if getattr(tick, name)]
    return " ".join(["fired", *flags])


def _rule(info: ScheduleInfo) -> str:
    if info.cron is None:
        return f"every {format_duration(info.every)}" if info.every else "-"
    return info.cron if info.timezone == "UTC" else f"{info.cron} {info.timezone}"


TICKS: tuple[Column[TickInfo], ...] = (
    Column("  AT", lambda tick: f"  {when(tick.at)}"),
    Column("BECAME", _became, least=10, rank=1),
    Column("RUN", lambda tick: str(tick.run_id or "-"), rank=2),
    Column("#", lambda tick: str(tick.number or "-"), rank=3, right=True),
)

COLUMNS: tuple[Column[ScheduleInfo], ...] = (
    Column("KEY", lambda info: info.key, least=12),
    Column("STATUS", lambda info: info.status, rank=1),
    Column("NEXT", lambda info: when(info.next_at), rank=2),
    Column("WHEN", _rule, least=9, rank=3),
    Column("TASK", lambda info: info.task, least=12, rank=4),
    Column("FIRED", lambda info: str(info.fired), rank=5, right=True),
)
