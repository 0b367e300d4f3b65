"""The page of `openqueue top`, for a terminal of any size. Pure: a snapshot in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from textwrap import wrap
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from openqueue.cli.output import cut
from openqueue.cli.top_rates import Rates, sparkline
from openqueue.cli.top_snapshot import Snapshot
from openqueue.durations import format_duration
from openqueue.redaction import printable

__all__ = ["KEYS", "View", "page"]

Row = Mapping[str, Any]

KEYS = "q quit  ↑↓ choose  p pause/resume  r retry failed  / filter  space freeze"


@dataclass
class View:
    """What the person at the keyboard has chosen: a queue, a filter, to stand still; and what is said.

    `silent`: for how many seconds the database has not answered, once that is worth a word.
    """

    chosen: str | None = None
    filter: str = ""
    typing: bool = False
    frozen: bool = False
    said: str = ""
    fault: str = ""
    silent: float = 0.0
    rates: Rates = field(default_factory=Rates)


@dataclass(frozen=True, slots=True)
class Part:
    """A column: title, text, width (0: what is left), and how early it goes where there is no room."""

    title: str
    text: Callable[[Row], str]
    width: int
    rank: int = 0
    right: bool = True


def page(snapshot: Snapshot | None, view: View, width: int, height: int) -> list[Text]:
    """At most `height` lines, none wider than `width`."""
    if snapshot is None:
        lines = [Text("openqueue top", style="bold"), *(_fault(view, width) or [Text("asks the database …")])]
        return [_fitted(line, width) for line in lines[:height]]
    head = _head(snapshot, view, width)
    foot = _foot(view, width)
    room = max(height - len(head) - len(foot), 0)
    parts = _shares(snapshot, room)
    body = [
        *_table("QUEUE", snapshot.queues, _QUEUES, parts[0], width, chosen=view.chosen, style=_queue_style),
        *_table("WORKER", snapshot.workers, _WORKERS, parts[1], width, style=_worker_style),
        *_failures(snapshot, parts[2], width),
    ]
    body += [Text("")] * (room - len(body))
    return [_fitted(line, width) for line in (*head, *body[:room], *foot)][:height]


def _head(now: Snapshot, view: View, width: int) -> list[Text]:
    alive = [row for row in now.workers if row["alive"]]
    sums = {
        name: sum(row[name] for row in now.queues) for name in ("ready", "running", "blocked", "retrying")
    }
    running, places = (sum(row[name] for row in alive) for name in ("running", "concurrency"))
    title = Text("openqueue top", style="bold")
    title.append(f"  {now.namespace}  {now.at.astimezone():%H:%M:%S}", style="not bold")
    if now.paused:
        title.append("  EVERYTHING IS PAUSED", style="bold yellow")
    if view.frozen:
        title.append("  frozen", style="bold cyan")
    if now.leader is None and alive:
        title.append("  no leader", style="bold red")
    workers = Text(f"{len(alive)} worker{'' if len(alive) == 1 else 's'}", style="" if alive else "bold red")
    workers.append(f", {running}/{places} running", style="not bold")
    more = "+" if now.capped else ""
    workers.append(
        f"   {sums['ready']:,}{more} ready  {sums['blocked']:,} blocked  {sums['retrying']:,} retrying",
        style="default not bold",
    )
    line = max(min((width - 62) // 2, 30), 0)
    speed = Text("in ")
    for name, values in (("out ", view.rates.added), ("", view.rates.ended)):
        if line >= 4:
            speed.append(f"{sparkline(values, line).lstrip()} ", style="cyan" if name else "green")
        speed.append(f"{_rate(values)}/s   {name}")
    failed = f"{now.failed:,}{'+' if now.failed >= 1000 else ''} failed in the last minute"
    speed.append(failed, style="red" if now.failed else "dim")
    return [title, *_fault(view, width), workers, speed, Text("")]


def _fault(view: View, width: int) -> list[Text]:
    """What went wrong, whole if it is not too long: its end often says what to do."""
    silent = f"The database has not answered for {view.silent:.0f} s." if view.silent else ""
    lines = wrap(printable(view.fault or silent), max(width, 20), max_lines=5, placeholder=" …")
    return [Text(line, style="bold red") for line in lines]


def _rate(values: Sequence[float]) -> str:
    """Of the last few readings: a single one jumps."""
    if not values:
        return "-"
    last = [*values][-3:]
    mean = sum(last) / len(last)
    return f"{mean:,.0f}" if mean >= 10 else f"{mean:.1f}"


def _foot(view: View, width: int) -> list[Text]:
    if view.typing:
        return [Text(f"queues with: {view.filter}▏ Enter keeps it, Esc takes it back", style="reverse")]
    if view.said:  # whole: a question ends with the keys that answer it
        lines = wrap(printable(view.said), max(width, 20), max_lines=3, placeholder=" …")
        return [Text(line, style="reverse") for line in lines]
    only = f"[queues with {view.filter}]   " if view.filter else ""
    shown = KEYS if width >= len(only) + len(KEYS) else "q quit ↑↓ p pause r retry / filter"
    return [Text(f"{only}{shown}", style="dim")]


def _shares(now: Snapshot, room: int) -> tuple[int, int, int]:
    """Lines for queues, workers and failures: each what it needs, as far as there is room."""
    needs = [len(rows) + 2 if rows else 2 for rows in (now.queues, now.workers, now.failures)]
    if sum(needs) <= room:
        return needs[0], needs[1], room - needs[0] - needs[1]
    least = [min(need, max(room // 4, 3)) for need in needs]
    for place in range(3):
        least[place] += max(min(needs[place] - least[place], room - sum(least)), 0)
    return least[0], least[1], max(least[2], 0)


def _table(
    title: str,
    rows: Sequence[Row],
    columns: Sequence[Part],
    lines: int,
    width: int,
    *,
    chosen: str | None = None,
    style: Callable[[Row], str],
) -> list[Text]:
    kept = _fit(columns, width)
    head = Text(_line(kept, [part.title for part in kept], width), style="bold")
    if not rows:
        nothing = {"QUEUE": "nothing waits, nothing runs", "WORKER": "no worker: openqueue worker"}[title]
        return [Text(nothing, style="dim"), Text("")][:lines]
    room = max(lines - 2, 1)
    start = _start(rows, room, chosen)
    shown = rows[start : start + room]
    told = [_row(kept, row, width, row.get("queue") == chosen and chosen is not None, style) for row in shown]
    more = len(rows) - len(shown)
    if more > 0:
        head.append(f"  +{more}", style="dim")
    return [head, *told, Text("")][:lines]


def _start(rows: Sequence[Row], room: int, chosen: str | None) -> int:
    """So far down that the chosen one is among those shown."""
    place = next((at for at, row in enumerate(rows) if row.get("queue") == chosen), 0)
    return max(0, place - room + 1)


def _row(parts: Sequence[Part], row: Row, width: int, is_chosen: bool, style: Callable[[Row], str]) -> Text:
    line = _line(parts, [printable(part.text(row)) for part in parts], width)
    return Text(line.ljust(width) if is_chosen else line, style="reverse" if is_chosen else style(row))


def _line(parts: Sequence[Part], texts: Sequence[str], width: int) -> str:
    rest = width - sum(part.width + 2 for part in parts if part.width)
    cells = []
    for part, text in zip(parts, texts, strict=True):
        room = part.width or max(rest, 8)
        shown = cut(text, room)
        space = " " * (room - cell_len(shown))
        cells.append(space + shown if part.right and part.width else shown + space)
    return "  ".join(cells).rstrip()


def _fit(columns: Sequence[Part], width: int) -> list[Part]:
    kept = [*columns]
    while len(kept) > 2 and sum((part.width or 14) + 2 for part in kept) - 2 > width:
        kept.remove(max(kept, key=lambda part: part.rank))
    return kept


def _failures(now: Snapshot, lines: int, width: int) -> list[Text]:
    if lines < 2:
        return []
    if not now.failures:
        return [Text("nothing has failed", style="dim")]
    told = [Text("LAST FAILURES", style="bold")]
    for row in now.failures[: lines - 1]:
        text = Text(f"{row['finished_at'].astimezone():%H:%M:%S}  ", style="dim")
        error = f"{row['type']}: {row['message']}" if row["message"] else f"{row['type']}"
        text.append(cut(printable(row["task"]), max(width // 3, 12)), style="default not dim")
        text.append(f"  {printable(error)}", style="red not dim")
        told.append(text)
    return told


def _fitted(line: Text, width: int) -> Text:
    fitted = line.copy()
    fitted.truncate(width, overflow="ellipsis")
    return fitted


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    step = 1 if seconds < 3600 else 60 if seconds < 86_400 else 3600
    return format_duration(timedelta(seconds=round(seconds / step) * step))


def _per_minute(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.1f}"


def _short(seconds: float | None) -> str:
    """In two figures, which is what is known of it."""
    if seconds is None:
        return "-"
    return "<1ms" if seconds < 0.001 else format_duration(timedelta(seconds=float(f"{seconds:.2g}")))


def _queue_style(row: Row) -> str:
    if row["paused"] is not None:
        return "yellow"
    return "red" if row["ready"] and not row["workers"] else ""


def _worker_style(row: Row) -> str:
    if not row["alive"] or row["state"] == "stuck":
        return "red"
    return "yellow" if row["state"] == "draining" else ""


def _remark(row: Row) -> str:
    if row["paused"] is not None:
        return f"paused{'' if row['paused'] == 'paused' else ': ' + row['paused']}"
    return "no worker" if row["ready"] and not row["workers"] else ""


_QUEUES = (
    Part("QUEUE", lambda row: row["queue"], 0, right=False),
    Part("READY", lambda row: f"{row['ready']:,}", 7),
    Part("OLDEST", lambda row: _age(row["oldest"]), 7, rank=1),
    Part("RUN", lambda row: f"{row['running']:,}", 6),
    Part("RETRY", lambda row: f"{row['retrying']:,}", 6, rank=3),
    Part("BLOCKED", lambda row: f"{row['blocked']:,}", 7, rank=4),
    Part("LATER", lambda row: f"{row['scheduled']:,}", 7, rank=6),
    Part("WORKERS", lambda row: str(row["workers"]), 7, rank=9),
    Part("DONE/MIN", lambda row: _per_minute(row["per_minute"]), 8, rank=5),
    Part("FAILED/5M", lambda row: f"{row['failed']:,}", 9, rank=7),
    Part("WAIT P95", lambda row: _short(row["waited_p95"]), 8, rank=8),
    Part("", _remark, 18, rank=2, right=False),
)
_WORKERS = (
    Part("WORKER", lambda row: row["name"], 0, right=False),
    Part("STATE", lambda row: row["state"] if row["alive"] else "silent", 8, right=False),
    Part("RUNNING", lambda row: f"{row['running']}/{row['concurrency']}", 9),
    Part("LAST BEAT", lambda row: _age(row["beat_age"]), 9, rank=1),
    Part("QUEUES", lambda row: ", ".join(row["queues"] or ["(all)"]), 20, rank=2, right=False),
)
