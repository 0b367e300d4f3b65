"""Where to read on in each lane. Pure: the worker's half of engine/claim.sql.

A lane is one (queue, priority); its jobs are ordered by `seq`. Three marks are kept for each:

    0 ······ floor ······ sweep ▸ ······ cursor ────────▶ new jobs
             nothing can   being          the last claim
             appear below  looked through ended here

A claim reads on from the cursor, so that running rows and dead rows behind it cost nothing. What commits late
appears behind the cursor; a sweep reads there, a bounded stretch at a time, and where it finds work the cursor
moves back, so that the late ones go first, as their seq says. The floor is where sweeps begin. It rises to a seq once
a sweep that began after every transaction of that moment had ended (`xmin` has passed the `xmax` noted with it) found
nothing more below it. What comes back with an old seq (a release, a rescue) raises the lane's `returns`: the floor is then 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Lanes", "Plan"]

Key = tuple[str, int]

FIRST_WINDOW: Final = 20_000
SMALLEST_WINDOW: Final = 1_000
LARGEST_WINDOW: Final = 2**40
QUICK, SLOW = 0.005, 0.02
"""A sweep's stretch, in seqs: doubled after a quick round, halved after a slow one (seconds)."""

MOST_MARKS: Final = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """The lanes' part of one claim: parallel arrays, and whether it is a sweep."""

    queues: list[str]
    priorities: list[int]
    cursors: list[int]
    uptos: list[int | None]
    sweep: bool


class _Lane:
    __slots__ = ("cursor", "floor", "marks", "returns", "sweep", "target")

    def __init__(self) -> None:
        self.cursor = 0
        self.floor = 0
        self.sweep: int | None = None
        self.target = 0
        self.marks: deque[tuple[int, int]] = deque()
        self.returns: int | None = None


class Lanes:
    """The marks of every lane that this worker has seen."""

    def __init__(self) -> None:
        self._lanes: dict[Key, _Lane] = {}
        self._window = FIRST_WINDOW
        self._xmin = 0

    @property
    def swept(self) -> bool:
        """Whether nothing lies between any floor and its cursor."""
        return all(lane.floor >= lane.cursor for lane in self._lanes.values())

    def forward(self) -> Plan:
        """Read on from every cursor."""
        keys = list(self._lanes)
        return Plan(
            [queue for queue, _ in keys],
            [priority for _, priority in keys],
            [self._lanes[key].cursor for key in keys],
            [None] * len(keys),
            sweep=False,
        )

    def sweep(self) -> Plan:
        """Read the next stretch behind every cursor; a lane with nothing there is read forward."""
        plan = self.forward()
        for place, lane in enumerate(self._lanes.values()):
            if lane.floor < lane.cursor:
                if lane.sweep is None:
                    lane.sweep = lane.floor
                    lane.target = self._settled(lane)
                plan.cursors[place] = lane.sweep
                plan.uptos[place] = min(lane.sweep + self._window, lane.cursor)
        return Plan(plan.queues, plan.priorities, plan.cursors, plan.uptos, sweep=True)

    def learn(self, plan: Plan, claimed: Iterable[Any], position: Mapping[str, Any], seconds: float) -> bool:
        """Take in the answer to a claim made by `plan` that took so long; says whether to sweep soon."""
        returned = False
        self._xmin = position["xmin"]
        last: dict[Key, int] = {}
        for row in claimed:
            last[(row["queue"], row["priority"])] = row["seq"]
        swept = dict(zip(zip(plan.queues, plan.priorities, strict=True), plan.uptos, strict=True))
        for queue, priority, returns, ended in position["lanes"] or ():
            key = (queue, priority)
            lane = self._lanes.setdefault(key, _Lane())
            upto = swept.get(key)
            if upto is None:
                self._read_on(lane, last.get(key), ended, position["xmax"])
            else:
                self._swept(lane, last.get(key), ended, upto)
            if lane.returns is not None and returns != lane.returns:
                lane.floor, lane.sweep = 0, None
                lane.marks.clear()
                returned = True
            lane.returns = returns
        if plan.sweep and any(upto is not None for upto in plan.uptos):
            self._pace(seconds)
        return returned

    def hear(self, ready: Sequence[Sequence[Any]]) -> None:
        """Jobs appeared, as a bell says: [queue, priority, smallest seq]. One behind a cursor moves it back."""
        for queue, priority, seq in ready:
            lane = self._lanes.get((queue, priority))
            if lane is not None and seq <= lane.cursor:
                lane.cursor = seq - 1
                lane.floor = min(lane.floor, lane.cursor)
                lane.sweep = None
                lane.marks.clear()

    def _read_on(self, lane: _Lane, taken: int | None, ended: int | None, xmax: int) -> None:
        cursor = max(lane.cursor, taken or 0, ended or 0)
        if cursor > lane.cursor or (lane.floor < cursor and not lane.marks):
            if len(lane.marks) == MOST_MARKS:
                lane.marks.pop()
            lane.marks.append((cursor, xmax))
        lane.cursor = cursor

    def _swept(self, lane: _Lane, taken: int | None, ended: int | None, upto: int) -> None:
        """A stretch was read: what was found moves the cursor back; at the end of a pass the floor rises."""
        if lane.sweep is None:  # a bell moved the cursor meanwhile
            return
        if taken is not None:
            lane.cursor = min(lane.cursor, taken)
            lane.floor = min(lane.floor, taken)
            lane.sweep = None
            lane.marks = deque(mark for mark in lane.marks if mark[0] <= taken)
            return
        if ended is None:  # not reached: the claim was full before it
            return
        lane.sweep = ended
        if ended < upto:  # somebody has locked the next one: the pass ends here
            lane.floor = max(lane.floor, min(ended, lane.target))
            lane.sweep = None
        elif lane.sweep >= lane.cursor:
            lane.floor = max(lane.floor, lane.target)
            lane.sweep = None

    def _settled(self, lane: _Lane) -> int:
        """How far the floor may rise by a pass that begins now."""
        settled = lane.floor
        while lane.marks and lane.marks[0][1] <= self._xmin:
            settled = max(settled, lane.marks.popleft()[0])
        return settled

    def _pace(self, seconds: float) -> None:
        if seconds < QUICK:
            self._window = min(self._window * 2, LARGEST_WINDOW)
        elif seconds > SLOW:
            self._window = max(self._window // 2, SMALLEST_WINDOW)
