"""Cron expressions to try, and their times by definition: slowly, from cronsim's walls and zoneinfo."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim
from hypothesis import strategies as st

__all__ = ["by_definition", "expressions", "field"]


@st.composite
def field(draw: st.DrawFn, low: int, high: int) -> str:
    """A field of an expression, as openqueue and cronsim both read it."""

    def number() -> int:
        return draw(st.integers(low, high))

    kind = draw(st.sampled_from(["*", "*", "*/", "one", "one", "list", "range", "range/"]))
    if kind == "*":
        return "*"
    if kind == "*/":
        return f"*/{draw(st.integers(1, max((high - low) // 2, 1)))}"
    if kind == "one":
        return str(number())
    if kind == "list":
        return ",".join(str(number()) for _ in range(draw(st.integers(2, 4))))
    first = draw(st.integers(low, high - 1))
    last = draw(st.integers(first + 1, high))
    step = f"/{draw(st.integers(1, 4))}" if kind == "range/" else ""
    return f"{first}-{last}{step}"


@st.composite
def expressions(draw: st.DrawFn, *, seconds: bool = False) -> str:
    """Expressions that fire: no day is over 28. Many are about the night, in which clocks are changed."""
    minute, hour = draw(field(0, 59)), draw(field(0, 3) | field(0, 23))
    date = draw(st.just("*") | field(1, 28) | st.just("L"))
    weekday = draw(st.just("*") | field(0, 6) | st.sampled_from(["1#2", "5#1", "5L"]))
    if date.startswith("*/") and not weekday.startswith("*"):
        weekday = draw(
            field(0, 6)
        )  # both must match: the last Friday of February is never the 1st, 11th or 21st
    month = draw(st.just("*") | st.just("*") | field(1, 12))
    first = [draw(field(0, 59))] if seconds else []
    return " ".join([*first, minute, hour, date, month, weekday])


def by_definition(cron: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """All times after `start` up to `end`, of five fields: each wall is looked up in the zone, one by one."""
    margin = timedelta(days=1)  # no wall is further than that from UTC
    walls = list(_walls(cron, start - margin, end + margin))
    fixed = not any(part.startswith("*") for part in cron.split()[:2])
    found = {_once(wall, zone) for wall in walls} if fixed else set(_each(walls, zone))
    return sorted(instant for instant in found if start < instant <= end)


def _walls(cron: str, start: datetime, end: datetime) -> Iterator[datetime]:
    for wall in CronSim(cron, start.replace(tzinfo=None)):
        if wall > end.replace(tzinfo=None):
            return
        yield wall


def _once(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first of two equal hours; in the gap, the first minute after it."""
    while not _exists(wall, zone):
        wall += timedelta(minutes=1)
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _each(walls: list[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    for wall in walls:
        if _exists(wall, zone):
            yield from (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    return wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall
