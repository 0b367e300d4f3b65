"""Where to read on in each lane. Pure: the worker's half of engine/claim.sql.

A lane is one (queue, priority); its jobs are ordered by `seq`. Three places are kept for each:

    0 ······ floor ······ sweep ▸ ······ cursor ────────▶ new jobs
             nothing can   being          the last claim
             appear below  looked through ended here

A claim reads on from the cursor, so that running rows and dead rows behind it cost nothing. What commits late
appears behind the cursor; a sweep reads there, a bounded stretch at a time. Where it finds work the cursor
moves back, so that the late ones go first, as their seq says.

The floor is where sweeps begin. Who takes a seq has a transaction id by then. So a mark is set: this far the
lane was read, and every transaction that may still bring a lower seq has an id below `xid`. That is the id of
a *later* claim: the end of a snapshot (`xmax`) will not do, it says nothing of ids that were given out and
have not ended. Once `xmin` has come to a mark's xid, a whole pass that begins then raises the floor to it.

What comes back with an old seq (a release, a rescue) raises the lane's `returns`: the floor is then 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Belled", "Lanes", "Plan"]

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


@dataclass(frozen=True, slots=True)
class Belled:
    """A lane that the bell has named, and where to read on in it."""

    queue: str
    priority: int
    cursor: int


class _Lane:
    """The places in one lane, the marks (seq, xid) of how far it was read, and the one without an xid yet."""

    __slots__ = ("cursor", "floor", "marks", "returns", "sweep", "target", "unsigned", "until")

    def __init__(self) -> None:
        self.cursor = 0
        self.floor = 0
        self.sweep: int | None = None
        self.target = 0
        self.until = 0
        self.marks: deque[tuple[int, int]] = deque()
        self.unsigned: int | None = None
        self.returns: int | None = None

    def back_to(self, seq: int) -> None:
        """Read on from here, though it was read further once."""
        self.cursor = min(self.cursor, seq)
        self.floor = min(self.floor, self.cursor)
        self.sweep = None
        self.forget(self.cursor)

    def forget(self, above: int) -> None:
        """Drop the marks above a seq."""
        while self.marks and self.marks[-1][0] > above:
            self.marks.pop()
        if self.unsigned is not None and self.unsigned > above:
            self.unsigned = None

    def sign(self, xid: int) -> None:
        """Whatever was open when the lane was read has an id below this one."""
        if self.unsigned is not None:
            if len(self.marks) == MOST_MARKS:
                self.marks.pop()
            self.marks.append((self.unsigned, xid))
            self.unsigned = None

    def doubt(self) -> None:
        """Anything may be anywhere behind the cursor."""
        self.floor, self.sweep = 0, None
        self.forget(-1)


class Lanes:
    """The marks of every lane that this worker has seen."""

    def __init__(self) -> None:
        self._lanes: dict[Key, _Lane] = {}
        self._heard: dict[Key, int] = {}
        self._window = FIRST_WINDOW
        self._xmin = 0

    @property
    def swept(self) -> bool:
        """Whether nothing lies between any floor and its cursor."""
        return all(lane.floor >= lane.cursor for lane in self._lanes.values())

    def belled(self, queues: Container[str] | None) -> Belled | None:
        """The lane that bells named since the last claim, if it was one, and of these queues (None: all)."""
        if len(self._heard) != 1:
            return None
        (key,) = self._heard
        if queues is not None and key[0] not in queues:
            return None
        self._heard.clear()
        return Belled(*key, self._lanes.setdefault(key, _Lane()).cursor)

    def learn_lane(self, lane: Belled, taken: int | None) -> None:
        """Take in the answer to a claim from one lane only: the last seq that it took, if any."""
        key = (lane.queue, lane.priority)
        self._read_on(self._lanes[key], taken, None)
        self._obey(key)

    def forward(self) -> Plan:
        """Read on from every cursor."""
        self._heard.clear()
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
                    lane.sweep, lane.until = lane.floor, lane.cursor
                    lane.target = self._settled(lane)
                plan.cursors[place] = lane.sweep
                plan.uptos[place] = min(lane.sweep + self._window, lane.until)
        return Plan(plan.queues, plan.priorities, plan.cursors, plan.uptos, sweep=True)

    def learn(self, plan: Plan, claimed: Iterable[Any], position: Mapping[str, Any], seconds: float) -> bool:
        """Take in the answer to a claim made by `plan` that took so long; says whether to sweep soon."""
        returned = False
        self._xmin = position["xmin"]
        if position["xid"] is not None:
            for lane in self._lanes.values():
                lane.sign(position["xid"])
        last: dict[Key, int] = {}
        for row in claimed:
            if not row["returned"]:
                last[(row["queue"], row["priority"])] = row["seq"]
        swept = dict(zip(zip(plan.queues, plan.priorities, strict=True), plan.uptos, strict=True))
        for queue, priority, returns, ended in position["lanes"] or ():
            key = (queue, priority)
            lane = self._lanes.setdefault(key, _Lane())
            upto = swept.get(key)
            if upto is None:
                self._read_on(lane, last.get(key), ended)
            else:
                self._swept(lane, last.get(key), ended, upto)
            if lane.returns is not None and returns != lane.returns:
                lane.doubt()
                returned = True
            lane.returns = returns
            self._obey(key)
            swept.pop(key, None)
        for key in swept:  # it has been removed; if it comes back, it is read from its beginning
            del self._lanes[key]
        if plan.sweep and any(upto is not None for upto in plan.uptos):
            self._pace(seconds)
        return returned

    def hear(self, ready: Sequence[Sequence[Any]]) -> None:
        """Jobs appeared, a bell says: [queue, priority, smallest seq]. One behind a cursor moves it back."""
        for queue, priority, seq in ready:
            key = (queue, priority)
            self._heard[key] = min(seq, self._heard.get(key, seq))
            lane = self._lanes.get(key)
            if lane is not None and seq <= lane.cursor:
                lane.back_to(seq - 1)

    def doubt(self) -> None:
        """The database was away and may have gone back in time: look through everything again."""
        for lane in self._lanes.values():
            lane.back_to(0)

    def _obey(self, key: Key) -> None:
        """Where a bell named a lane while the claim was under way."""
        if key in self._heard:
            self._lanes[key].back_to(self._heard[key] - 1)

    def _read_on(self, lane: _Lane, taken: int | None, ended: int | None) -> None:
        cursor = max(lane.cursor, taken or 0, ended or 0)
        if cursor > lane.cursor or (lane.floor < cursor and not lane.marks):
            lane.unsigned = cursor
        lane.cursor = cursor

    def _swept(self, lane: _Lane, taken: int | None, ended: int | None, upto: int) -> None:
        """A stretch was read: what was found moves the cursor back; at the end of a pass the floor rises."""
        if lane.sweep is None:  # a bell moved the cursor meanwhile
            return
        if taken is not None:
            lane.back_to(taken)
            return
        if ended is None:  # not reached: the claim was full before it
            return
        # Where somebody has locked a job it may yet be left behind: the floor stays below it.
        lane.target = min(lane.target, ended)
        lane.sweep = upto
        if lane.sweep >= lane.until:
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
