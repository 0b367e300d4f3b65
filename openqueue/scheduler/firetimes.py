"""The times of a rule, in UTC: the next, the previous, those between, and how many.

Daylight saving as in Debian's cron. An expression that names the time of day (`30 2 * * *`) fires once a
day: right after the gap if its time is left out, and in the first of two equal hours. One in which
second, minute or hour begins with a star (`*/15 * * * *`, `0 */2 * * *`) follows the wall clock: nothing
of it fires in the gap, and the repeated hour counts twice. Intervals are of elapsed time: nothing moves them.

Both walk the zone's periods of one offset each, in which wall clock and UTC run side by side; a period of a
fixed expression begins where its walls are new, and with one more time if the gap before it left any out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from openqueue.errors import InvalidOption
from openqueue.scheduler.expressions import read_cron
from openqueue.scheduler.patterns import Pattern
from openqueue.scheduler.rules import Rule
from openqueue.scheduler.zones import Period, period_at

__all__ = ["Firetimes"]

_INSTANT = timedelta(microseconds=1)
_MARGIN = timedelta(days=2)
"""More than two offsets can differ by: how far before a wall its instant may be sought."""
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC)


class Firetimes:
    """The times of `rule` for the schedule `key` (which `H` depends on), counted from `anchor`.

    The anchor is when the schedule was made: an interval without `start_at` fires at the anchor plus
    whole numbers of intervals, also before it (for a backfill). All results are aware, in UTC, within
    the rule's bounds; all arguments are aware.
    """

    def __init__(self, rule: Rule, *, key: str, anchor: datetime) -> None:
        self.rule = rule
        self._times: _Cron | _Interval
        if rule.cron is not None:
            self._times = _Cron(read_cron(rule.cron, key), rule.zone)
        else:
            assert rule.every is not None
            self._times = _Interval(rule.every, _naive(rule.start_at or anchor))
        self._first = _naive(rule.start_at or _EARLIEST)
        self._last = _naive(rule.end_at or _LATEST)

    def next(self, after: datetime) -> datetime | None:
        """The first time later than `after`; None when there is none before the end."""
        start = max(_naive(after) + _INSTANT, self._first)
        found = self._times.first_from(start, self._last) if start <= self._last else None
        return None if found is None or found > self._last else found.replace(tzinfo=UTC)

    def previous(self, before: datetime) -> datetime | None:
        """The last time earlier than `before`; None when there is none since the start."""
        end = min(_naive(before), self._last + _INSTANT)
        found = self._times.last_before(end, self._first) if end > self._first else None
        return None if found is None or found < self._first else found.replace(tzinfo=UTC)

    def between(self, after: datetime, upto: datetime) -> Iterator[datetime]:
        """The times later than `after` up to and with `upto`, in order, each computed when asked for."""
        found = self.next(after)
        while found is not None and found <= upto:
            yield found
            found = self.next(found)

    def count(self, after: datetime, upto: datetime) -> int:
        """How many times `between` has; costs a step for each month, however many times there are."""
        start = max(_naive(after) + _INSTANT, self._first)
        end = min(_naive(upto), self._last) + _INSTANT
        return self._times.count(start, end) if start < end else 0


class _Interval:
    """`origin` plus whole numbers of `every`."""

    def __init__(self, every: timedelta, origin: datetime) -> None:
        self.every = every
        self.origin = origin

    def first_from(self, start: datetime, limit: datetime) -> datetime:
        return self.origin - (self.origin - start) // self.every * self.every

    def last_before(self, end: datetime, limit: datetime) -> datetime:
        return self.first_from(end, end) - self.every

    def count(self, start: datetime, end: datetime) -> int:
        return (self.first_from(end, end) - self.first_from(start, start)) // self.every


class _Cron:
    """A pattern of walls, carried over to UTC by the periods of a zone."""

    def __init__(self, pattern: Pattern, zone: ZoneInfo) -> None:
        self.pattern = pattern
        self.zone = zone

    def first_from(self, start: datetime, limit: datetime) -> datetime | None:
        while start <= limit:
            period = period_at(self.zone, start)
            if start == period.start and self._left_out(period):
                return start
            wall = self.pattern.first_from(max(start + period.offset, self._begin(period)))
            if wall is None:
                return None
            if wall - period.offset < period.end:
                return wall - period.offset
            # What the pattern lets pass is let pass at once: a yearly time is not sought month by month.
            start = max(period.end, self._floor(wall - period.offset - _MARGIN))
        return None

    def last_before(self, end: datetime, limit: datetime) -> datetime | None:
        while end > limit:
            period = period_at(self.zone, end - _INSTANT)
            begin = self._begin(period)
            wall = self.pattern.last_before(end + period.offset)
            if wall is not None and wall >= begin:
                return wall - period.offset
            if self._left_out(period):
                return period.start
            if wall is None:
                return None
            end = min(period.start, self._ceiling(wall - period.offset + _MARGIN))
        return None

    def count(self, start: datetime, end: datetime) -> int:
        total = 0
        while start < end:
            period = period_at(self.zone, start)
            upto = min(end, period.end)
            begin = max(start + period.offset, self._begin(period))
            total += self.pattern.count(begin, max(begin, upto + period.offset))
            total += start == period.start and self._left_out(period)
            start = upto
        return total

    def _begin(self, period: Period) -> datetime:
        """The wall from which on this period has walls that are its own."""
        begin = period.start + period.offset
        return max(begin, period.start + period.before) if self.pattern.fixed else begin

    def _left_out(self, period: Period) -> bool:
        """Whether a fixed time fell in the gap before this period, and its end is not such a time itself."""
        if not self.pattern.fixed or period.offset <= period.before:
            return False
        end = period.start + period.offset
        wall = self.pattern.first_from(period.start + period.before)
        return wall is not None and wall < end and self.pattern.first_from(end) != end

    def _floor(self, instant: datetime) -> datetime:
        """The start of the instant's period: from there a gap before it is seen."""
        return period_at(self.zone, instant).start

    def _ceiling(self, instant: datetime) -> datetime:
        return period_at(self.zone, instant).end


def _naive(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:
        return moment.replace(tzinfo=None)
    if moment.utcoffset() is None:
        raise InvalidOption(f"{moment!r} has no time zone: use datetime.now(timezone.utc) or astimezone().")
    return moment.astimezone(UTC).replace(tzinfo=None)
