"""What holds for a queue, a task, a concurrency key or a group, as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from openqueue.rates import Rate

__all__ = ["Control", "Fairness", "Kind", "Source", "rate_of"]

Kind = Literal["all", "queue", "task", "key", "group"]
Fairness = Literal["strict", "round_robin", "weighted"]
Source = Literal["run time", "settings", "code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What holds for one of them, value by value, and who said it ('run time', 'settings' or 'code').

    kind          queue, task, key (a concurrency key), group (of `queue`), or all: the whole namespace
    concurrency   how many may run at once, in all processes; `used`: how many of these slots are taken
    rate, burst   how many may begin in a period, and how many of them at once
    fairness      in which order the groups of a queue have their turn
    ageing        after how long a waiting job of a queue gains one level of priority
    weight        a group's share in a weighted queue
    paused        nothing more begins, until `paused_until` (None: until it is resumed)
    """

    kind: Kind
    name: str
    queue: str | None = None
    concurrency: int | None = None
    concurrency_from: Source | None = None
    used: int | None = None
    rate: Rate | None = None
    burst: int | None = None
    rate_from: Source | None = None
    fairness: Fairness | None = None
    fairness_from: Source | None = None
    ageing: timedelta | None = None
    ageing_from: Source | None = None
    weight: float | None = None
    weight_from: Source | None = None
    paused: bool = False
    paused_until: datetime | None = None
    reason: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of `controls_in_force`."""
        given = {**row, "rate": rate_of(row), "ageing": _seconds(row["ageing"])}
        del given["period"]
        return cls(**given)


def rate_of(row: Mapping[str, Any]) -> Rate | None:
    """The rate of a row."""
    return None if row["rate"] is None else Rate(row["rate"], timedelta(seconds=row["period"]))


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)
