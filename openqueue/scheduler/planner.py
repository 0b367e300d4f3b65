"""What a schedule fires now: compares the last scheduled time with the clock, by its policy.

The cursor is the *scheduled* time of the last tick that was dealt with, fired or skipped, never the time
of the firing. What is not later than the cursor is never fired again, however the clock jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption, shown
from openqueue.scheduler.firetimes import Firetimes

__all__ = ["ON_TIME", "Plan", "Policy", "Skipped", "Tick", "jittered", "plan"]

ON_TIME = timedelta(seconds=60)
"""How late the newest due tick may be and still is on time, that is no missed one.

It covers what is no downtime: the hand-over to another leader (10 s, 20 s after a host vanished), the
restart of a single worker with its grace of 30 s, a statement that is repeated.
"""

MOST_CATCH_UP = 1_000
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of the ticks of a schedule.

    Args:
        catch_up: how many of the newest missed ticks run after a downtime, besides the one on time.
        jitter: the most that a run is delayed; each tick has its own, always the same, part of it.
        max_runs: after how many fired ticks the schedule is finished.
    """

    catch_up: int = 0
    jitter: timedelta = timedelta(0)
    max_runs: int | None = None

    def __post_init__(self) -> None:
        _check_whole(self.catch_up, "catch_up", 0, MOST_CATCH_UP)
        if self.max_runs is not None:
            _check_whole(self.max_runs, "max_runs", 1, 2**31 - 1)
        object.__setattr__(self, "jitter", parse_duration(self.jitter, field="jitter"))


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick to fire: scheduled for `at`, its run due at `run_at`.

    `number` counts the fired ticks of the schedule from 1; `previous` is the scheduled time before `at`,
    fired or not, and None for the first of a schedule with a start; `catch_up` flags a missed one.
    """

    at: datetime
    run_at: datetime
    number: int
    previous: datetime | None
    catch_up: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """Ticks of which no run is made: `count` of them, from `first` to `last`; `reason` is `missed`."""

    reason: str
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now.

    `fire` is in order; `skipped` says what is left out; `cursor` is to be stored in the same
    transaction, even if a tick could not be enqueued; `fired` is the count including `fire`. At
    `next_at` is the next tick; None when the schedule is finished: past its end, or after `max_runs`.
    """

    fire: tuple[Tick, ...]
    skipped: tuple[Skipped, ...]
    cursor: datetime | None
    fired: int
    next_at: datetime | None

    @property
    def finished(self) -> bool:
        """Whether nothing will ever be due again."""
        return self.next_at is None


def plan(
    firetimes: Firetimes,
    policy: Policy,
    *,
    key: str,
    since: datetime,
    now: datetime,
    cursor: datetime | None = None,
    fired: int = 0,
    watched: datetime | None = None,
) -> Plan:
    """Say which ticks of a schedule are fired now.

    Args:
        firetimes: its times.
        policy: its policy.
        key: the schedule's, for a jitter of its own.
        since: when it was made or last resumed: of what was before, it has missed nothing.
        now: the clock, which should be the database's.
        cursor: the last scheduled time that was dealt with; None for none yet.
        fired: how many ticks were fired before.
        watched: since when the caller has looked without a break. Ticks since then that are not older
            than `ON_TIME` are on time, even if several are due at once (a tick each second, and a look
            that took two). Without it the newest due alone can be on time.
    """
    after = since if cursor is None else max(cursor, since)
    left = None if policy.max_runs is None else max(policy.max_runs - fired, 0)
    if left == 0:
        return Plan((), (), cursor, fired, None)
    newest = firetimes.previous(now + _INSTANT)
    if newest is None or newest <= after:
        return Plan((), (), cursor, fired, firetimes.next(max(after, now)))
    on_time = _on_time(firetimes, after, newest, now, watched)
    missed_upto = on_time[0] - _INSTANT if on_time else newest
    caught_up = _newest(firetimes, after, missed_upto, policy.catch_up)
    chosen = [*caught_up, *on_time]
    chosen = chosen if left is None else chosen[-left:]
    late = len(chosen) - len(on_time)
    befores = [firetimes.previous(at) for at in chosen[:1]] + chosen[:-1]
    ticks = tuple(
        Tick(at, at + jittered(key, at, policy.jitter), fired + place, before, catch_up=place <= late)
        for place, (at, before) in enumerate(zip(chosen, befores, strict=True), start=1)
    )
    total = fired + len(ticks)
    return Plan(
        fire=ticks,
        skipped=_skipped(firetimes, after, befores[0] if ticks else newest),
        cursor=newest,
        fired=total,
        next_at=None if policy.max_runs is not None and total >= policy.max_runs else firetimes.next(newest),
    )


def jittered(key: str, at: datetime, jitter: timedelta) -> timedelta:
    """The delay of one tick: from nothing to below `jitter`, always the same for a schedule and a time."""
    if not jitter:
        return jitter
    seed = f"{key}@{at.timestamp():.6f}".encode()
    part = int.from_bytes(sha256(seed).digest()[:8]) / 2**64
    return timedelta(microseconds=int(jitter / _INSTANT * part))


def _on_time(
    firetimes: Firetimes, after: datetime, newest: datetime, now: datetime, watched: datetime | None
) -> list[datetime]:
    oldest = now - ON_TIME
    if newest < oldest:
        return []
    if watched is None:
        return [newest]
    start = max(after, oldest - _INSTANT, watched - _INSTANT)
    return list(firetimes.between(start, newest)) or [newest]


def _newest(firetimes: Firetimes, after: datetime, upto: datetime, count: int) -> list[datetime]:
    """The newest `count` times after `after` up to `upto`, found backwards, given in order."""
    found: list[datetime] = []
    at = firetimes.previous(upto + _INSTANT) if count else None
    while at is not None and at > after and len(found) < count:
        found.append(at)
        at = firetimes.previous(at)
    return found[::-1]


def _skipped(firetimes: Firetimes, after: datetime, last: datetime | None) -> tuple[Skipped, ...]:
    if last is None or last <= after:
        return ()
    first = firetimes.next(after)
    assert first is not None
    return (Skipped("missed", firetimes.count(after, last), first, last),)


def _check_whole(value: object, option: str, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidOption(
            f"{option}: {shown(value)} must be a whole number from {lowest} to {highest}.", option=option
        )
