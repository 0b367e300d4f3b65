"""When to claim, and what the next claim has to do besides. Pure: every moment is passed in.

Four things set the time: the bell (or, while jobs come thick, a look every few milliseconds), the next
scheduled job, the poll floor, and sweeps, which look for what committed late behind a lane's cursor.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Pace"]

BUSY_POLL: Final = (0.002, 0.01)
"""Seconds between looks while the bell is off: doubled, up to the second, while they bring nothing."""

SWEEP_EVERY: Final = 1.0
"""Seconds between sweeps while claims come back full; else the first follows soon, then ever more seldom."""

SWEEP_SOON: Final = 0.02
SWEEP_SHARE: Final = 20
"""Sweeping takes at most a twentieth of the time: after one of n seconds none for twenty times n."""

OVERDUE: Final = (0.01, 0.25)
"""Seconds until the next look for a due job that could not be moved into line: somebody has it locked."""


class Pace:
    """One producer's times; `poll` is the floor in seconds. Moments are seconds of one monotonic clock."""

    def __init__(self, poll: float) -> None:
        self.poll = poll
        self.due_at: float | None = None
        self.claim_takes = 0.0
        """Seconds from a claim to its reply, smoothed."""
        self.sweep_at = 0.0
        self._promote_at = 0.0
        self._overdue = OVERDUE[0]
        self._swept_at = 0.0
        self._sweep_pause = SWEEP_SOON
        self._sweep_now = False
        self._unread = False
        self._pause = BUSY_POLL[0]

    def sweep_soon(self) -> None:
        """Something may be anywhere: the next claim sweeps."""
        self._sweep_now = True

    def look_forward(self) -> None:
        """The next claim looks through everything by itself, for due jobs, too; so it is no sweep."""
        self._promote_at = 0.0
        self._sweep_now = False
        self._unread = False
        self.sweep_at = math.inf

    def due_in(self, seconds: float, now: float) -> None:
        """A scheduled job is due then, perhaps before the one known so far."""
        at = now + seconds
        self.due_at = at if self.due_at is None else min(self.due_at, at)

    def owes_a_look(self, now: float) -> bool:
        """Whether everything is to be looked at first, however often the bell of one lane rings."""
        due = self.due_at is not None and now >= self.due_at
        return self._sweep_now or due or now >= self._promote_at or (self._unread and now >= self.sweep_at)

    def sweeps(self, now: float, swept: bool) -> bool:
        """Whether the claim that begins now is a sweep; `swept`: nothing lies behind the cursors."""
        wanted = self._sweep_now or (now >= self.sweep_at and (self._unread or not swept))
        self._sweep_now = False
        return wanted

    def promotes(self, now: float, sweep: bool) -> bool:
        """Whether that claim also moves due jobs into line."""
        return sweep or now >= self._promote_at or (self.due_at is not None and now >= self.due_at)

    def claimed(
        self, now: float, took: float, *, sweep: bool, promoted: bool, got: int, full: bool, due: float | None
    ) -> None:
        """A claim begun at `now` took so long and brought `got` jobs; `due`: seconds until the next one."""
        self._unread = False
        self.claim_takes += 0.2 * (took - self.claim_takes)
        if got:
            self._pause = BUSY_POLL[0]
        self._plan_sweep(sweep, got, full, now, took)
        if promoted:
            self._promote_at = now + self.poll
        self.due_at = self._next_due(due, promoted and not got, now + took)

    def claimed_lane(self, now: float, got: int) -> None:
        """Only one lane was read, and not what else there is to know: a look at everything follows soon."""
        if got:
            self._pause = BUSY_POLL[0]
        if not self._unread:
            self._unread = True
            self._sweep_pause = SWEEP_SOON
            self.sweep_at = max(now, self._swept_at) + SWEEP_SOON

    def wait(self, now: float, floor: float, *, bell: bool, swept: bool) -> float:
        """Seconds to wait for the bell, if it is on, and until something is to be done; at most `floor`."""
        wait = floor
        if not bell:
            wait, self._pause = self._pause, min(self._pause * 2, BUSY_POLL[1])
        if self.due_at is not None:
            wait = min(wait, max(0.0, self.due_at - now))
        if self._unread or not swept:
            wait = min(wait, max(0.0, self.sweep_at - now))
        return 0.0 if self._sweep_now else wait

    def _plan_sweep(self, swept: bool, got: int, full: bool, now: float, took: float) -> None:
        """Sweep soon after jobs came, one may have committed late; then more seldom; seldom under backlog."""
        if swept:
            self._swept_at = now + SWEEP_SHARE * took
            self._sweep_pause = min(self._sweep_pause * 2, SWEEP_EVERY)
        if full:
            self._sweep_pause = SWEEP_EVERY
        elif got:
            self._sweep_pause = SWEEP_SOON
        self.sweep_at = self._swept_at + self._sweep_pause

    def _next_due(self, due: float | None, in_vain: bool, now: float) -> float | None:
        """When the next scheduled job is due; later, and later again, for one that somebody has locked."""
        if due is not None and due <= 0 and in_vain:
            pause, self._overdue = self._overdue, min(self._overdue * 2, OVERDUE[1])
            return now + pause
        self._overdue = OVERDUE[0]
        return None if due is None else now + max(0.0, due)
