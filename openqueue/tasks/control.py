"""Leaving a task other than by returning or failing: control flow, not errors."""

from __future__ import annotations

from openqueue.durations import Duration, parse_duration

__all__ = ["Cancelled", "GiveUp", "Snooze"]


class GiveUp(Exception):
    """Raise it to fail the run now: no attempt follows, whatever `max_attempts` and `retry_on` say."""


class Snooze(Exception):
    """Raise it to be run again after `delay`; the attempt is not counted.

    `delay` is a duration (`"5m"`, seconds, a timedelta); InvalidOption is raised for what is not.
    """

    def __init__(self, delay: Duration) -> None:
        super().__init__(delay)
        self.delay = parse_duration(delay, field="delay")


class Cancelled(Exception):
    """Raise it to end the run as cancelled, for instance when `ctx.cancelled` is set."""
