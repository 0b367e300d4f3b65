"""Numbers and lists in sentences, and commands for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import timedelta

from openqueue.durations import format_duration

__all__ = ["ago", "count", "listed", "psql", "size", "statement"]

_LONGEST_STATEMENT = 100


def ago(seconds: float | None) -> str:
    """A duration, in no more figures than anybody reads: `3h12m`; `?` where it is not known."""
    if seconds is None:
        return "?"
    step = 1 if seconds < 3600 else 60 if seconds < 86_400 else 3600
    rounded = round(seconds, 1) if seconds < 10 else round(seconds / step) * step
    return format_duration(timedelta(seconds=max(rounded, 0)))


def count(number: int, noun: str, plural: str = "", *, capped: bool = False) -> str:
    """`1 job`, `2 jobs`, `at least 200,000 jobs`."""
    words = noun if number == 1 else plural or f"{noun}s"
    return f"{'at least ' if capped else ''}{number:,} {words}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def psql(*options: str) -> str:
    """The command with these options (`-c` and a statement) as a shell reads it, whatever is in them."""
    parts = (option.partition(" ") for option in options)
    return " ".join(("psql", *(f"{flag} {_shell_quoted(text)}" for flag, _, text in parts)))


def _shell_quoted(text: str) -> str:
    plain = "'" in text and re.search(r'["$`\\!]', text) is None
    return f'"{text}"' if plain else shlex.quote(text)  # single quotes are hard to read in single quotes


def size(amount: int) -> str:
    """Bytes in the unit that leaves one to three figures."""
    scaled, unit = float(amount), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if scaled < 1024 or unit == "TiB":
            break
        scaled /= 1024
    return f"{scaled:.0f} {unit}" if unit == "B" or scaled >= 10 else f"{scaled:.1f} {unit}"


def statement(text: str | None) -> str:
    """A statement in one short line."""
    line = " ".join((text or "").split())
    return line if len(line) <= _LONGEST_STATEMENT else line[: _LONGEST_STATEMENT - 1] + "…"
