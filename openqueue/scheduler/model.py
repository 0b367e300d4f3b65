"""What is known of a schedule and of its times, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from openqueue.codec import decode
from openqueue.errors import InvalidOption
from openqueue.scheduler.firetimes import Firetimes
from openqueue.scheduler.rules import Rule
from openqueue.scheduler.words import in_words

if TYPE_CHECKING:
    from openqueue.runs.model import Row

__all__ = ["Backfilled", "ScheduleInfo", "TickInfo"]


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as it was when read. Times are the database's.

    cron, every    its rule: one of the two
    input          the arguments of its runs
    queue, …       of its runs; None: as the task says
    concurrency_key  of its runs; None: as the task says; empty: none
    source         'dynamic' (added by somebody) or 'declarative' (the code says it: `@task(cron=…)`)
    status         'active', 'paused', 'finished' (past its end, or after max_runs) or 'invalid'
    paused_until   the end of a pause; None for one without an end, too
    last_at        the newest of its times that was decided
    next_at        its next time; None where there is none
    fired          runs made on time
    waiting        whether a tick waits until the run before it has ended
    invalid        why nothing can be computed of it
    last_error     why its newest tick could not be enqueued
    """

    key: str
    task: str
    input: Any
    cron: str | None
    every: timedelta | None
    timezone: str
    start_at: datetime | None
    end_at: datetime | None
    max_runs: int | None
    catch_up: int
    overlap: Literal["allow", "skip", "queue", "cancel_previous"]
    jitter: timedelta
    queue: str | None
    priority: int | None
    max_attempts: int | None
    deadline: timedelta | None
    meta: Mapping[str, Any]
    tags: tuple[str, ...]
    concurrency_key: str | None
    source: Literal["dynamic", "declarative"]
    status: Literal["active", "paused", "finished", "invalid"]
    paused_until: datetime | None
    pause_reason: str | None
    last_at: datetime | None
    next_at: datetime | None
    fired: int
    waiting: bool
    invalid: str | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Row) -> ScheduleInfo:
        """Read a row of `schedule_infos`."""
        fields = dict(row)
        now, paused = fields.pop("now"), fields.pop("paused")
        fields["input"] = decode(fields["input"])
        fields["meta"] = decode(fields["meta"]) if fields["meta"] else {}
        fields["tags"] = tuple(fields["tags"] or ())
        info = cls(**fields, status="active", next_at=None)
        if info.invalid is not None:
            return replace(info, status="invalid")
        try:
            coming = info.coming(1, now)
        except InvalidOption as error:  # added with SQL, and no leader has seen it yet
            return replace(info, status="invalid", invalid=str(error))
        if not coming:
            return replace(info, status="finished")
        if paused:
            return replace(info, status="paused")
        if info.paused_until is not None and info.paused_until > now:
            return replace(info, status="paused", next_at=coming[0])
        return replace(info, next_at=coming[0])

    @property
    def rule(self) -> Rule:
        """When it is due. Raises InvalidOption for one that is invalid."""
        return Rule(self.cron, self.every, self.timezone, self.start_at, self.end_at)

    @property
    def firetimes(self) -> Firetimes:
        """All of its times, also the past ones. Raises InvalidOption for one that is invalid."""
        return Firetimes(self.rule, key=self.key, anchor=self.created_at)

    @property
    def meaning(self) -> str:
        """Its rule in words, such as 'at 02:00 every day'; nothing for one that is invalid."""
        return "" if self.invalid is not None else in_words(self.rule, self.key)

    def coming(self, n: int, after: datetime) -> list[datetime]:
        """At most `n` of its times after a moment, after its pause if that has an end, up to `max_runs`.

        A pause without an end is as if it ended then. Raises InvalidOption for one that is invalid.
        """
        left = n if self.max_runs is None else min(n, self.max_runs - self.fired)
        begin = max(after, self.paused_until or after, self.last_at or after)
        return list(
            islice(self.firetimes.between(begin, datetime.max.replace(tzinfo=after.tzinfo)), max(left, 0))
        )


@dataclass(frozen=True, slots=True)
class TickInfo:
    """A time of a schedule that was decided.

    at             the time of the schedule
    fired_at       when it was decided
    run_id         its run; None: see `skipped`
    number         how manyth run on time it is; None for others
    skipped        why there is no run: 'missed', 'overlap' or 'failed', of which `error` says more
    missed         how many ticks, from `missed_from` on to this one, a row of missed ones stands for
    """

    at: datetime
    fired_at: datetime
    run_id: UUID | None
    number: int | None
    catch_up: bool
    backfill: bool
    manual: bool
    skipped: Literal["missed", "overlap", "failed"] | None
    error: str | None
    missed: int | None
    missed_from: datetime | None

    @classmethod
    def of(cls, row: Row) -> TickInfo:
        """Read a row of `schedule_history`."""
        return cls(**dict(row))


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill has done so far: the ticks of its range, those that are new, and those that had a run.

    A tick that had a run before is known, and gets no other one.
    """

    total: int
    added: int = 0
    known: int = 0

    @property
    def done(self) -> bool:
        """Whether every tick of the range has its run."""
        return self.added + self.known >= self.total
