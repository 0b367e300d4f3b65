"""One schedule as its leader keeps it: what it is, where it stands, and what is to be fired next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from openqueue.codec import encode
from openqueue.scheduler.firetimes import Firetimes
from openqueue.scheduler.planner import ON_TIME, Plan, Policy, plan
from openqueue.scheduler.rules import Rule

__all__ = ["Advance", "Entry"]

FOREVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a schedule goes: the plan, what fire_ticks is told of it, and until when that is right."""

    plan: Plan
    text: str
    good_until: datetime


class Entry:
    """A row of `schedules_of`. Its rule is read when it is first needed, and its next tick planned ahead.

    key, revision   which schedule, in which of its forms
    cursor, fired   where it stands, as stored
    next_at         when its next tick is; None: to be computed, or never
    waits           whether a tick waits until the run before it has ended
    patient         whether firing it may mean to wait for others: then it goes in a batch of its own
    stale           how often in a row it could not be moved

    What computes raises InvalidOption if nothing can be computed of the rule.
    """

    __slots__ = (
        "_firetimes",
        "_policy",
        "_ready",
        "cursor",
        "fired",
        "key",
        "next_at",
        "over",
        "patient",
        "revision",
        "row",
        "stale",
        "waits",
    )

    def __init__(self, row: Any) -> None:
        self.row = row
        self.key: str = row["key"]
        self.revision: int = row["revision"]
        self.cursor: datetime | None = row["cursor_at"]
        self.fired: int = row["fired"]
        self.next_at: datetime | None = row["next_at"]
        self.waits: bool = row["waits"]
        self.patient: bool = row["patient"]
        self.stale = 0
        self.over = row["invalid"] is not None
        self._firetimes: Firetimes | None = None
        self._policy: Policy | None = None
        self._ready: Advance | None = None

    def due_at(self, now: datetime) -> datetime | None:
        """When to look at it: its next tick, the end of its pause, at once if that is unknown, never."""
        paused: datetime | None = self.row["paused_until"]
        if self.over or self.row["paused"]:
            return None
        if paused is not None and paused > now:
            return paused
        return now if self.next_at is None else self.next_at

    def prepare(self, watched: datetime) -> None:
        """Plan what happens at `next_at`, before it is time."""
        if self._ready is None and self.next_at is not None:
            self._ready = self._advance(self.next_at, watched)

    def advance(self, now: datetime, watched: datetime) -> Advance:
        """What to do now; `watched`: since when its leader has looked."""
        ready = self._ready
        if ready is None or self.next_at is None or not self.next_at <= now < ready.good_until:
            ready = self._ready = self._advance(now, watched)
        return ready

    def changes_nothing(self) -> bool:
        """Whether the advance need not be stored."""
        assert self._ready is not None
        made = self._ready.plan
        return not (made.fire or made.skipped) and (made.cursor, made.next_at) == (
            self.cursor,
            self.row["next_at"],
        )

    def moved(self, fired: int) -> None:
        """The advance is stored. Where its ticks did not all fire, `max_runs` may leave room for another."""
        assert self._ready is not None
        done = self._ready.plan
        self.stale = 0
        self.cursor, self.next_at, self.fired = done.cursor, done.next_at, fired
        self.over = done.next_at is None and not done.fire
        self._ready = None

    def _advance(self, now: datetime, watched: datetime) -> Advance:
        made = plan(
            self._times(),
            self._limits(),
            key=self.key,
            since=self._since(now),
            now=now,
            cursor=self.cursor,
            fired=self.fired,
            watched=watched,
        )
        good_until = min(made.next_at or FOREVER, now + ON_TIME / 2)
        return Advance(made, encode(self._told(made)), good_until)

    def _since(self, now: datetime) -> datetime:
        """A pause that ends by itself ends like one that is ended by hand."""
        since: datetime = self.row["since_at"]
        paused: datetime | None = self.row["paused_until"]
        return (
            max(since, paused) if paused is not None and paused <= now and not self.row["catch_up"] else since
        )

    def _times(self) -> Firetimes:
        if self._firetimes is None:
            fields = ("cron", "every", "timezone", "start_at", "end_at")
            rule = Rule(**{field: self.row[field] for field in fields})
            self._firetimes = Firetimes(rule, key=self.key, anchor=self.row["created_at"])
        return self._firetimes

    def _limits(self) -> Policy:
        if self._policy is None:
            row = self.row
            self._policy = Policy(row["catch_up"], row["jitter"] or timedelta(0), row["max_runs"])
        return self._policy

    def _told(self, made: Plan) -> dict[str, Any]:
        return {
            "key": self.key,
            "revision": self.revision,
            "from": self.cursor,
            "cursor": made.cursor,
            "next_at": made.next_at,
            "ticks": [
                {"at": one.at, "run_at": one.run_at, "previous": one.previous, "catch_up": one.catch_up}
                for one in made.fire
            ],
            "skipped": [
                {"reason": one.reason, "count": one.count, "first": one.first, "last": one.last}
                for one in made.skipped
            ],
        }
