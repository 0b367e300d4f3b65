"""What holds, as people read it: in a line, and as the table of a page with who said each value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from openqueue.cli.output import Column, show_json, show_table, when
from openqueue.durations import format_duration

if TYPE_CHECKING:
    from openqueue.control.model import Control

__all__ = ["limit_of", "pause_of", "print_held", "rate_of", "show_controls"]

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One value that holds; `instead`: what others say of it, who do not win."""

    what: str
    value: str
    source: str
    instead: str = ""


def in_words(one: Control) -> str:
    """All that holds, in one line."""
    return "; ".join(f"{line.what} {line.value}" for line in lines(one, ())) or "nothing is said"


def limit_of(one: Control | None) -> str:
    """Slots: `3/5` are taken."""
    return "-" if one is None or one.concurrency is None else f"{one.used or 0}/{one.concurrency}"


def rate_of(one: Control | None) -> str:
    """`100/m`, and its burst if it has one."""
    if one is None or one.rate is None:
        return "-"
    return f"{one.rate} burst {one.burst}" if one.burst else str(one.rate)


def pause_of(one: Control | None) -> str:
    """Until when."""
    if one is None or not one.paused:
        return "-"
    return f"until {when(one.paused_until)}" if one.paused_until else "until resumed"


def lines(one: Control, said: Iterable[Row]) -> Iterator[Line]:
    """Each value that holds, with what others say of it."""
    name = f"group {one.name} " if one.kind == "group" else ""
    others = list(said)
    if one.concurrency is not None:
        value = f"{one.concurrency} at once, {one.used or 0} running"
        yield Line(
            "concurrency",
            value,
            one.concurrency_from or "",
            _instead(others, one.concurrency_from, "concurrency"),
        )
    if one.rate is not None:
        yield Line("rate", rate_of(one), one.rate_from or "", _instead(others, one.rate_from, "rate"))
    if one.fairness is not None:
        yield Line(
            "fairness", one.fairness, one.fairness_from or "", _instead(others, one.fairness_from, "fairness")
        )
    if one.ageing is not None:
        value = format_duration(one.ageing)
        yield Line("ageing", value, one.ageing_from or "", _instead(others, one.ageing_from, "ageing"))
    if one.weight is not None:
        yield Line(f"{name}weight", f"{one.weight:g}", one.weight_from or "")
    if one.paused:
        reason = f" ({one.reason})" if one.reason else ""
        yield Line(f"{name}paused", pause_of(one) + reason, "run time")


def show_controls(held: Sequence[Control], said: Sequence[Row]) -> None:
    """The table: of what is shown alone, and of its groups."""
    found = [line for one in held for line in lines(one, () if one.kind in ("group", "all") else said)]
    show_table(found, _COLUMNS, empty="")


def _instead(said: Iterable[Row], source: str | None, field: str) -> str:
    """What those say who do not win: `settings: 10, code: 3`."""
    order = {"run time": 1, "settings": 2, "code": 3}
    losing = sorted(
        (row for row in said if row["source"] != source and row[field] is not None),
        key=lambda row: order[row["source"]],
    )
    return ", ".join(f"{row['source']}: {_value(row, field)}" for row in losing)


def _value(row: Row, field: str) -> str:
    from openqueue.control.model import rate_of as read_rate

    if field == "rate":
        return str(read_rate(row)) + (f" burst {row['burst']}" if row["burst"] else "")
    return format_duration(timedelta(seconds=row[field])) if field == "ageing" else str(row[field])


_COLUMNS: tuple[Column[Line], ...] = (
    Column("  WHAT", lambda one: f"  {one.what}", least=14),
    Column("HOLDS", lambda one: one.value, least=14, rank=1),
    Column("SAID BY", lambda one: one.source, rank=2),
    Column("INSTEAD OF", lambda one: one.instead or "-", least=10, rank=3),
)


def print_held(
    held: Sequence[Control], name: str, *, otherwise: str = "nothing holds it up", as_json: bool
) -> None:
    """What holds now, a line each, of a group with its queue; `otherwise` where nothing does."""
    if as_json:
        show_json(held)
        return
    for one in held:
        called = f"{one.queue}, group {one.name}" if one.kind == "group" else one.name or name
        print(f"{called}: {in_words(one)}")
    if not held:
        print(f"{name}: {otherwise}")
