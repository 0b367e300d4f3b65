"""What the demo prints."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

from openqueue.runs.model import RunEvent


def progress(text: str) -> None:
    """Write the line over, on a terminal; elsewhere it is not worth a line."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True)


def say(text: str = "") -> None:
    """A line that stays."""
    print(f"\r\x1b[K{text}" if sys.stdout.isatty() else text, flush=True)


def table(title: str, rows: Iterable[Sequence[str]]) -> None:
    """A title, and rows of which the first column is text and the others are numbers."""
    say(f"\n{title}")
    cells = [list(row) for row in rows]
    if not cells:
        say("  none")
        return
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    for first, *others in cells:
        numbers = "".join(f"  {text:>{width}}" for text, width in zip(others, widths[1:], strict=True))
        say(f"  {first:<{widths[0]}}{numbers}")


def timeline(title: str, events: Sequence[RunEvent]) -> None:
    """The events of a run, each with the time since the first."""
    say(f"\n{title}")
    for event in events:
        attempt = f"attempt {event.attempt}" if event.attempt else ""
        error = event.data.get("error") or {}
        why = f"{error['type']}: {error['message']}" if error else event.data.get("message", "")
        say(f"  {duration(event.at - events[0].at):>10}  {event.event:<10} {attempt:<10} {why}".rstrip())


def most_common(counts: dict[str, int], count: int) -> str:
    """The names counted most, with their numbers, on one line."""
    return " · ".join(f"{name} {number:,}" for name, number in Counter(counts).most_common(count)) or "none"


def size(number: float) -> str:
    """Bytes, for people."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} GB"


def duration(given: timedelta) -> str:
    """A short time, for people."""
    seconds = given.total_seconds()
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
