"""Schedules: when a task is due, and what is fired of it.

The rules are pure. A `Rule` (cron or an interval, a zone, bounds) says when; `Firetimes` computes its
times: a `Pattern` walks the wall clock as if no zone existed, the zone's `Period`s carry its walls over
to UTC, and only there is daylight saving decided. `plan` compares the last scheduled time with now and
says which ticks are fired, delayed, flagged or skipped. None of them reads a clock or a database.
"""

__all__: list[str] = []
