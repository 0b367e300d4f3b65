"""How long history is kept: the rules, and what was pruned by them. No database in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Self
from uuid import UUID

from openqueue.durations import parse_duration
from openqueue.runs.states import ENDED

__all__ = ["Dropped", "Pruned", "Retention", "Rule", "Size", "arrays"]


FOREVER: Final = "forever"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """For how long a run is kept after its end: None is for ever. What it leaves open matches all."""

    older_than: timedelta | None
    status: str | None = None
    task: str | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept how long. Of the rules the first one that a run matches decides; without one it is kept.

    ticks          the same for what became of the ticks of schedules; they stay as long as their runs
    whole_months   nothing is removed but whole months, by dropping them: up to a month later, at no cost
    """

    rules: tuple[Rule, ...] = ()
    ticks: timedelta | None = None
    whole_months: bool = False

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """From the setting `retention`: the task's word goes first, then the queue's, the status'."""
        rules = [Rule(older_than=_age(age), task=name) for name, age in said.get("tasks", {}).items()]
        rules += [Rule(older_than=_age(age), queue=name) for name, age in said.get("queues", {}).items()]
        rules += [Rule(older_than=_age(said[name]), status=name) for name in sorted(ENDED) if name in said]
        if "all" in said:
            rules.append(Rule(older_than=_age(said["all"])))
        ticks = _age(said.get("ticks", said.get("all", FOREVER)))
        return cls(tuple(rules), ticks, bool(said.get("whole_months")))

    def __bool__(self) -> bool:
        return self.ticks is not None or any(rule.older_than is not None for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Size:
    """What a relation takes: rows and dead rows as PostgreSQL's statistics have them, bytes with indexes."""

    rows: int
    dead: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A month of the history: an estimate of its rows, the bounds of its ids.

    `waits`: why it is not gone, though it is to go.
    """

    month: str
    rows: int
    bytes: int
    low: UUID
    high: UUID
    waits: str | None = None


@dataclass(slots=True, kw_only=True)
class Pruned:
    """What was pruned, or would be (`dry_run`).

    runs        removed one by one, by status; with their `attempts` and lines of the log
    months      dropped as a whole; `kept` says why a month that is old enough could not be
    ticks, keys, workers   of schedules; idempotency keys that are over; workers that nobody has buried
    before, after          what the history takes, by relation
    archived    runs in the archive
    """

    dry_run: bool = False
    runs: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    log_lines: int = 0
    months: list[Dropped] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    ticks: int = 0
    keys: int = 0
    workers: int = 0
    before: Mapping[str, Size] = field(default_factory=dict)
    after: Mapping[str, Size] = field(default_factory=dict)
    archived: int = 0
    seconds: float = 0.0

    @property
    def removed(self) -> int:
        """Runs removed one by one."""
        return sum(self.runs.values())

    def add(self, ends: Mapping[str, int], attempts: int = 0, lines: int = 0) -> None:
        """Count a batch."""
        for status, count in ends.items():
            self.runs[status] = self.runs.get(status, 0) + count
        self.attempts += attempts
        self.log_lines += lines


def arrays(rules: Sequence[Rule]) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """The rules as the engine takes them: tasks, queues, statuses, ages. Pure."""
    return (
        [rule.task for rule in rules],
        [rule.queue for rule in rules],
        [rule.status for rule in rules],
        [rule.older_than for rule in rules],
    )


def _age(said: str) -> timedelta | None:
    return None if said == FOREVER else parse_duration(said, field="retention", allow_zero=False)
