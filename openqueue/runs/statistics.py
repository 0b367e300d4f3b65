"""How it goes: what waits in the queues, what ended lately and how long it took, who works on what.

Nothing of it counts history: workers tell what ends as they beat, and who leads adds that up. What waits is
counted from the front of each line, up to a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from openqueue.control.controls import Controls
from openqueue.db.pool import Database
from openqueue.errors import InvalidOption

__all__ = [
    "MOST",
    "NOTHING",
    "Period",
    "Quantiles",
    "QueueInfo",
    "RunningInfo",
    "Statistics",
    "TaskStats",
    "WorkerInfo",
]

Span = Literal["minute", "hour", "day"]
Row = Mapping[str, Any]

SPANS: Final = ("minute", "hour", "day")
MOST: Final = 10_000
"""Of each kind no more jobs are counted in a queue."""

_KINDS: Final = ("completed", "failed", "retried", "snoozed", "cancelled", "released")


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds that half, 95 % and 99 % stayed below, right within a fifth; None: there were none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """How attempts ended from `since` until `until`.

    waited     from due to start
    ran        from start to end
    """

    since: datetime | None
    until: datetime | None
    completed: int = 0
    failed: int = 0
    retried: int = 0
    snoozed: int = 0
    cancelled: int = 0
    released: int = 0
    waited: Quantiles = Quantiles()
    ran: Quantiles = Quantiles()

    @property
    def per_minute(self) -> float:
        """Attempts that ended for good, in a minute."""
        if self.since is None or self.until is None:
            return 0.0
        minutes = max((self.until - self.since).total_seconds(), 1.0) / 60
        return (self.completed + self.failed + self.cancelled) / minutes

    def flat(self) -> dict[str, Any]:
        """In the words of JSON, for the middle of other numbers."""
        return {
            **{name: getattr(self, name) for name in _KINDS},
            "per_minute": round(self.per_minute, 2),
            **{f"waited_{name}": getattr(self.waited, name) for name in ("p50", "p95", "p99")},
            **{f"ran_{name}": getattr(self.ran, name) for name in ("p50", "p95", "p99")},
        }


NOTHING: Final = Period(None, None)


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue now, and in the last minutes.

    queued, blocked, scheduled, retrying   of each at most 10,000 are counted; `capped`: there may be more
    oldest_age      seconds that the first one in line has waited; None: nothing is ready
    paused_until    None also when it is paused until it is resumed: then `paused` is true
    """

    queue: str
    queued: int = 0
    blocked: int = 0
    running: int = 0
    scheduled: int = 0
    retrying: int = 0
    oldest_ready_at: datetime | None = None
    oldest_age: float | None = None
    capped: bool = False
    paused: bool = False
    paused_until: datetime | None = None
    recent: Period = NOTHING


@dataclass(frozen=True, slots=True)
class TaskStats:
    """A task in the last minutes; in all its queues."""

    task: str
    recent: Period


@dataclass(frozen=True, slots=True)
class RunningInfo:
    """A run that a worker runs now."""

    id: UUID
    task: str
    queue: str
    attempt: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker process: what it is, and what it does.

    state       running, draining, stuck (its event loop stands still), or silent (it does not beat)
    running     how many runs, of at most `concurrency`; `runs`: the ten that have run longest
    rss, cpu    bytes of memory, percent of one core; None: it has not told
    """

    id: UUID
    name: str
    host: str
    pid: int
    version: str
    state: str
    queues: tuple[str, ...] | None
    concurrency: int
    running: int
    started_at: datetime
    beat_at: datetime
    beat_age: float
    rss: int | None
    cpu: float | None
    runs: tuple[RunningInfo, ...] = ()


class Statistics:
    """`client.stats`: queues, tasks, workers, and what happened in minutes, hours and days."""

    def __init__(self, database: Database, namespace: str, *, silence: float = 15.0) -> None:
        self._database = database
        self._namespace = namespace
        self._silence = silence

    async def queues(self, *, minutes: int = 5) -> list[QueueInfo]:
        """Those with unfinished runs, those where some ended lately, and those of which anything is said."""
        ended = await self._recent("queue", minutes)
        rows = await self._database.fetch("queue_stats", self._namespace)
        found = {row["queue"]: dict(row) for row in rows}
        held = {one.name: one for one in await Controls(self._database, self._namespace).of("queue")}
        return [
            QueueInfo(
                **{"queue": name, **found.get(name, {})},
                paused=bool(name in held and held[name].paused),
                paused_until=held[name].paused_until if name in held else None,
                recent=ended.get(name, NOTHING),
            )
            for name in sorted({*found, *ended, *held})
        ]

    async def tasks(self, *, minutes: int = 5) -> list[TaskStats]:
        """The tasks of which anything ended in the last minutes."""
        return [TaskStats(name, period) for name, period in (await self._recent("task", minutes)).items()]

    async def workers(self, *, most: int = 10) -> list[WorkerInfo]:
        """The workers, each with the `most` runs that have run longest."""
        running: dict[UUID, list[RunningInfo]] = {}
        for row in await self._database.fetch("running_jobs", self._namespace, most):
            worker, *rest = row.values()
            running.setdefault(worker, []).append(RunningInfo(*rest))
        rows = await self._database.fetch("workers", self._namespace)
        return [self._worker(dict(row), running.get(row["id"], ())) for row in rows]

    async def history(
        self,
        span: Span,
        since: datetime,
        until: datetime,
        *,
        queue: str | None = None,
        task: str | None = None,
    ) -> list[Period]:
        """What ended, in each minute (of two days), hour (60 days) or day (two years, UTC) that had any.

        The last minute is not in it yet. Raises InvalidOption for an unknown span, and for a time without a
        time zone.
        """
        if span not in SPANS:
            raise InvalidOption(f"span: {span!r} is not one of {', '.join(SPANS)}.", option="span")
        for name, moment in (("since", since), ("until", until)):
            if moment.tzinfo is None:
                raise InvalidOption(f"{name}: the time {moment} has no time zone; give one.", option=name)
        rows = await self._database.fetch("stats_history", self._namespace, span, since, until, queue, task)
        return list(_periods(map(dict, rows), lambda row: row["at"]).values())

    async def _recent(self, by: str, minutes: int) -> dict[str, Period]:
        if not 1 <= minutes <= 60:
            raise InvalidOption(f"minutes: {minutes} is not between 1 and 60.", option="minutes")
        rows = await self._database.fetch("recent_stats", self._namespace, minutes)
        return dict(sorted(_periods(map(dict, rows), lambda row: row[by]).items()))

    def _worker(self, row: dict[str, Any], runs: Iterable[RunningInfo]) -> WorkerInfo:
        row.pop("namespace")
        if row["beat_age"] > self._silence:
            row["state"] = "silent"
        row["queues"] = None if row["queues"] is None else tuple(row["queues"])
        return WorkerInfo(**row, runs=tuple(runs))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The seconds below which this share of a histogram is (`sql/engine/stats.sql` has the same). Pure."""
    rest = share * sum(counts)
    if rest <= 0:
        return None
    for place, count in enumerate(counts):
        if count >= rest:
            return float(1e-4 * 2 ** ((place - 1 + rest / count) / 4))
        rest -= count
    return float(1e-4 * 2 ** ((len(counts) - 1) / 4))


def _periods(rows: Iterable[Row], of: Callable[[Row], Any]) -> dict[Any, Period]:
    """The rows added up by what `of` answers."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(of(row), []).append(row)
    return {name: _sum(group) for name, group in groups.items()}


def _sum(rows: list[Row]) -> Period:
    first = dict(rows[0])
    return Period(
        first.get("since", first.get("at")),
        first.get("until"),
        **{name: sum(row[name] for row in rows) for name in _KINDS},
        waited=_quantiles([row["waited"] for row in rows]),
        ran=_quantiles([row["ran"] for row in rows]),
    )


def _quantiles(histograms: list[list[int]]) -> Quantiles:
    counts = [0] * max(map(len, histograms))
    for histogram in histograms:
        for place, count in enumerate(histogram):
            counts[place] += count
    return Quantiles(*(quantile(counts, share) for share in (0.5, 0.95, 0.99)))
