"""What commands print: tables and pages for people, JSON for programs.

Tables fit the terminal: columns that matter least are left out where it is narrow, long values are cut. What
is not a terminal gets everything, without colours. JSON is never cut; its shapes are part of the public API.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar
from uuid import UUID

from openqueue.durations import format_duration
from openqueue.telemetry.redaction import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "STYLES",
    "Column",
    "console",
    "error_line",
    "heading",
    "plain",
    "say",
    "show_json",
    "show_table",
    "took",
    "when",
]

T = TypeVar("T")

UNBOUNDED = 100_000
"""The width of what is not a terminal."""

STYLES = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "expired": "yellow",
    "running": "cyan",
    "retrying": "magenta",
    "stuck": "red",
    "draining": "yellow",
}
"""How the words for states are coloured."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column: its title, the text of a row in it, and the least width that is of use (0: its whole width).

    Columns stand in the order of their importance when `rank` says nothing else: a higher one goes first
    where there is not room for all.
    """

    title: str
    text: Callable[[T], str]
    least: int = 0
    rank: int = 0
    right: bool = False


def console(stream: TextIO | None = None) -> Console:
    """Where people read: colours on a terminal only, and not with NO_COLOR; no width but a terminal's."""
    from rich.console import Console

    stream = stream or sys.stdout
    width = None if stream.isatty() else UNBOUNDED
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=False, width=width)


def show_table(rows: Iterable[T], columns: Sequence[Column[T]], *, empty: str) -> None:
    """Print the rows, or the sentence that there are none."""
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if not rows:
        print(empty)
        return
    page = console()
    cells = {column.title: [printable(column.text(row)) for row in rows] for column in columns}
    widths = fit({title: _widest(title, texts) for title, texts in cells.items()}, columns, page.width)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    shown = [column for column in columns if column.title in widths]
    for column in shown:
        table.add_column(
            column.title,
            width=widths[column.title],
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if column.right else "left",
        )
    for number in range(len(rows)):
        texts = (cells[column.title][number] for column in shown)
        table.add_row(*(Text(text, STYLES.get(text, "")) for text in texts))
    with page.capture() as printed:
        page.print(table)
    print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def fit(widest: Mapping[str, int], columns: Sequence[Column[Any]], room: int) -> dict[str, int]:
    """The widths of the columns that there is room for, by title. Pure."""
    kept = list(columns)

    def least(column: Column[Any]) -> int:
        return min(column.least or widest[column.title], widest[column.title])

    while len(kept) > 1 and sum(least(one) + 2 for one in kept) - 2 > room:
        kept.remove(max(reversed(kept), key=lambda one: one.rank))
    spare = room - sum(least(one) + 2 for one in kept) + 2
    widths: dict[str, int] = {}
    for one in sorted(kept, key=lambda one: one.rank):
        more = max(0, min(spare, widest[one.title] - least(one)))
        widths[one.title] = least(one) + more
        spare -= more
    return widths


def show_json(value: Any) -> None:
    """Print one JSON document; times are ISO 8601, durations seconds."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(plain(value), indent=2, ensure_ascii=not is_unicode))


def plain(value: Any) -> Any:
    """The value in JSON's words; dataclasses become objects with their fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, UUID) else value


def heading(title: str) -> None:
    """Print the title of what follows."""
    from rich.text import Text

    console().print(Text(f"\n{title}", style="bold"))


def say(*lines: str) -> None:
    """Tell a person what is not the result: on standard error."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def when(moment: datetime | None) -> str:
    """A time as a clock on the wall shows it, to the second."""
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def took(begin: datetime | None, end: datetime | None) -> str:
    """The time between two moments, in at most four figures and a unit or two."""
    if begin is None or end is None:
        return "-"
    seconds = max(0.0, (end - begin).total_seconds())
    if 0 < seconds < 0.001:
        return f"{seconds * 1e6:.0f}µs"
    digits = 0 if seconds >= 100 else 1 if seconds >= 10 else 3
    return format_duration(timedelta(seconds=round(seconds, digits)))


def error_line(error: Mapping[str, Any] | None) -> str:
    """A stored error in one line, as the last one of its traceback."""
    if not error:
        return ""
    return f"{error.get('type')}: {error.get('message')}" if error.get("message") else str(error.get("type"))


def _widest(title: str, texts: Iterable[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, (title, *texts)))
