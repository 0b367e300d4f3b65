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
from textwrap import indent
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar
from uuid import UUID

from openqueue.durations import format_duration
from openqueue.redaction import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "STYLES",
    "Column",
    "JsonArray",
    "Table",
    "console",
    "cut",
    "error_line",
    "heading",
    "plain",
    "say",
    "show_json",
    "show_json_line",
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
    """Print the rows; where there are none, say so on standard error."""
    table = Table(columns)
    table.add(rows)
    if not table.rows:
        say(empty)


class Table(Generic[T]):
    """A table that is printed page by page; `rows` counts what was printed.

    On a terminal the first page decides the widths. Elsewhere a wider page makes the columns wider. Where a
    terminal has no room for three columns, the first stands on a line of its own, and the others below it.
    """

    def __init__(self, columns: Sequence[Column[T]]) -> None:
        self.rows = 0
        self._columns = columns
        self._page = console()
        self._widths: dict[str, int] = {}
        self._is_stacked = False

    def add(self, rows: Iterable[T]) -> None:
        """Print these, the first time below the titles."""
        texts = [[printable(column.text(row)) for column in self._columns] for row in rows]
        if not texts:
            return
        self._set_widths(texts)
        if not self.rows and not self._is_stacked:
            self._print([column.title for column in self._columns], is_title=True)
        for one in texts:
            (self._print_stacked if self._is_stacked else self._print)(one)
        self.rows += len(texts)

    def _set_widths(self, texts: list[list[str]]) -> None:
        if self._widths and self._page.is_terminal:
            return
        each = zip(self._columns, zip(*texts, strict=True), strict=True)
        widest = {column.title: _widest(column.title, cells) for column, cells in each}
        widest = {title: max(width, self._widths.get(title, 0)) for title, width in widest.items()}
        self._widths = fit(widest, self._columns, self._page.width)
        self._is_stacked = self._page.is_terminal and len(self._widths) < min(3, len(self._columns))

    def _print(self, texts: Sequence[str], *, is_title: bool = False) -> None:
        shown = [
            self._cell(text, column, "bold" if is_title else STYLES.get(text, ""))
            for text, column in zip(texts, self._columns, strict=True)
            if column.title in self._widths
        ]
        print("  ".join(shown).rstrip())

    def _print_stacked(self, texts: Sequence[str]) -> None:
        """The first text, and below it as many of the others as there is room for."""
        from rich.cells import cell_len

        print(cut(texts[0], self._page.width))
        ranked = sorted(zip(self._columns[1:], texts[1:], strict=True), key=lambda pair: pair[0].rank)
        line, room = "", self._page.width
        for column, text in ((column, text) for column, text in ranked if text and text != "-"):
            if 2 + min(column.least or cell_len(text), cell_len(text)) <= room:
                line += "  " + self._styled(cut(text, room - 2), STYLES.get(text, ""))
                room -= 2 + cell_len(text)
        print(line)

    def _cell(self, text: str, column: Column[T], style: str) -> str:
        from rich.cells import cell_len

        width = self._widths[column.title]
        text = cut(text, width)
        space = " " * (width - cell_len(text))
        return space + self._styled(text, style) if column.right else self._styled(text, style) + space

    def _styled(self, text: str, style: str) -> str:
        if not style or self._page.no_color or self._page.color_system is None:
            return text
        from rich.style import Style

        return Style.parse(style).render(text)


def cut(text: str, width: int) -> str:
    """The text in at most so many columns of a terminal, with an ellipsis where something is missing."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"


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
    print(_json(value, indent=2))


def show_json_line(value: Any) -> None:
    """Print a JSON document in one line, at once: of several that come one after the other."""
    print(_json(value), flush=True)


class JsonArray:
    """An array that is printed page by page, as `show_json` would print the whole of it."""

    def __init__(self) -> None:
        self._is_begun = False

    def add(self, values: Iterable[Any]) -> None:
        """Print these."""
        for value in values:
            before = "," if self._is_begun else "["
            print(f"{before}\n{indent(_json(value, indent=2), '  ')}", end="")
            self._is_begun = True

    def end(self) -> None:
        """Print the end, or all of an array without anything in it."""
        print("\n]" if self._is_begun else "[]")


def _json(value: Any, **layout: Any) -> str:
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return json.dumps(plain(value), ensure_ascii=not is_unicode, **layout)


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
