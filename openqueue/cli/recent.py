"""What ended in the last minutes, as columns of a table and as a line of a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from openqueue.cli.output import Column
from openqueue.durations import format_duration

__all__ = ["RECENT", "any_ended", "in_the_last_minutes"]

Row = Mapping[str, Any]


def any_ended(row: Row) -> bool:
    """Whether any attempt ended in the last minutes."""
    return any(row[name] for name in ("completed", "failed", "retried", "snoozed", "cancelled", "released"))


def in_the_last_minutes(row: Row) -> str:
    """How many ended, and how long they took."""
    return (
        f"in the last minutes {row['per_minute']:g} ended a minute: {row['completed']} completed,"
        f" {row['failed']} failed, {row['retried']} tried again; waited {_three(row, 'waited')},"
        f" ran {_three(row, 'ran')} (p50, p95, p99)"
    )


def _three(row: Row, what: str) -> str:
    return " ".join(_seconds(row[f"{what}_{name}"]) for name in ("p50", "p95", "p99"))


def _seconds(value: float | None) -> str:
    """In two figures, which is what is known of it."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f}µs"
    return format_duration(timedelta(seconds=float(f"{value:.2g}")))


RECENT: Final[tuple[Column[Row], ...]] = (
    Column("DONE/MIN", lambda row: f"{row['per_minute']:g}", rank=4, right=True),
    Column("FAILED", lambda row: str(row["failed"]), rank=5, right=True),
    Column("WAITED P50 P95 P99", lambda row: _three(row, "waited"), rank=7, right=True),
    Column("RAN P50 P95 P99", lambda row: _three(row, "ran"), rank=8, right=True),
    Column("RETRIED", lambda row: str(row["retried"]), rank=12, right=True),
)
"""Of a row with the fields of `Period.flat`."""
