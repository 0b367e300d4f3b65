"""Lanes: whatever the order in which transactions commit, no job is lost; what is settled is left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openqueue.worker.intake.lanes import LARGEST_WINDOW, MOST_MARKS, SMALLEST_WINDOW, Belled, Lanes, Plan

LANE = ("default", 0)


@dataclass
class Transaction:
    xid: int
    jobs: list[int] = field(default_factory=list)
    locks: set[int] = field(default_factory=set)


@dataclass
class Database:
    """One lane of claim_jobs, with the ids and snapshots of PostgreSQL."""

    next_xid: int = 10
    last_ended: int = 9
    seq: int = 0
    returns: int = 0
    open: list[Transaction] = field(default_factory=list)
    ready: set[int] = field(default_factory=set)
    known: set[int] = field(default_factory=set)
    """The seqs of visible jobs, ready and running."""

    def begin(self) -> Transaction:
        self.open.append(Transaction(self.next_xid))
        self.next_xid += 1
        return self.open[-1]

    def end(self, one: Transaction) -> None:
        self.open.remove(one)
        self.last_ended = max(self.last_ended, one.xid)

    def xmin(self) -> int:
        return min([self.last_ended + 1, *(one.xid for one in self.open)])

    def claim(self, plan: Plan, most: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """What claim_jobs answers; see engine/claim.sql."""
        cursor, upto = 0, None
        if plan.queues:
            cursor, upto = plan.cursors[0], plan.uptos[0]
        own = self.begin() if upto is not None else None
        xmin = self.xmin()
        locked = {seq for one in self.open for seq in one.locks}
        within = [seq for seq in sorted(self.ready) if seq > cursor and (upto is None or seq <= upto)]
        taken = [seq for seq in within if seq not in locked][:most]
        ended: int | None = None
        if len(taken) < most and upto is not None:
            ended = min([seq - 1 for seq in within if seq not in taken], default=upto)
        elif len(taken) < most:
            ended = max([seq for seq in self.known if seq > cursor], default=cursor)
        if taken and own is None:
            own = self.begin()
        if own is not None:
            self.end(own)
        self.ready -= set(taken)
        rows = [{"queue": "default", "priority": 0, "seq": seq, "returned": False} for seq in taken]
        lanes = [["default", 0, self.returns, ended]]
        return rows, {"xmin": xmin, "xid": own and own.xid, "newest": self.seq, "lanes": lanes}


class NoJobIsLost(RuleBasedStateMachine):
    """Random writers, lockers, claims and bells; in the end everything that is ready must be found."""

    @initialize()
    def start(self) -> None:
        self.database = Database()
        self.lanes = Lanes()
        self.lanes._window = SMALLEST_WINDOW
        self.running: set[int] = set()
        self.rung: list[int] = []
        self.under_way: tuple[Plan, list[dict[str, Any]], dict[str, Any]] | None = None

    @rule(data=st.data(), count=st.integers(0, 3), again=st.booleans())
    def add_jobs(self, data: st.DataObject, count: int, again: bool) -> None:
        """In a new transaction, or in one that is open; of no jobs: it has an id and takes places later."""
        old = again and self.database.open
        one = data.draw(st.sampled_from(self.database.open)) if old else self.database.begin()
        for _ in range(count):
            self.database.seq += 1
            one.jobs.append(self.database.seq)

    @precondition(lambda self: self.database.ready)
    @rule(data=st.data())
    def lock_a_job(self, data: st.DataObject) -> None:
        free = self.database.ready - {seq for one in self.database.open for seq in one.locks}
        if free:
            self.database.begin().locks.add(data.draw(st.sampled_from(sorted(free))))

    @precondition(lambda self: self.database.open)
    @rule(data=st.data(), bell=st.booleans())
    def commit(self, data: st.DataObject, bell: bool) -> None:
        one = data.draw(st.sampled_from(self.database.open))
        self.database.end(one)
        self.database.ready |= set(one.jobs)
        self.database.known |= set(one.jobs)
        if bell and one.jobs:
            self.rung.append(min(one.jobs))

    @precondition(lambda self: self.database.open)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        self.database.end(data.draw(st.sampled_from(self.database.open)))

    @precondition(lambda self: self.rung)
    @rule()
    def hear_a_bell(self) -> None:
        self.lanes.hear([["default", 0, self.rung.pop()]])

    @rule(sweep=st.booleans(), most=st.integers(1, 4))
    def ask(self, sweep: bool, most: int) -> None:
        if self.under_way is None:
            plan = self.lanes.sweep() if sweep else self.lanes.forward()
            self.under_way = (plan, *self.database.claim(plan, most))

    @rule(most=st.integers(1, 4))
    def ask_the_lane_that_was_named(self, most: int) -> None:
        """As a producer does that has nothing else to look for; a bell may ring while it is asked."""
        lane = None if self.under_way else self.lanes.belled(None)
        if lane is not None:
            plan = Plan([lane.queue], [lane.priority], [lane.cursor], [None], sweep=False)
            rows, _ = self.database.claim(plan, most)
            if self.rung:
                self.hear_a_bell()
            self.lanes.learn_lane(lane, rows[-1]["seq"] if rows else None)
            self.running |= {row["seq"] for row in rows}

    @precondition(lambda self: self.under_way)
    @rule(seconds=st.sampled_from([0.001, 0.01, 0.1]))
    def learn(self, seconds: float) -> None:
        assert self.under_way is not None
        plan, rows, position = self.under_way
        self.under_way = None
        self.lanes.learn(plan, rows, position, seconds)
        self.running |= {row["seq"] for row in rows}

    @rule(times=st.integers(2, 4))
    def nothing_happens_for_a_while(self, times: int) -> None:
        """As much quiet as a worker needs to settle what it has read."""
        for sweep in [False] + [True] * times:
            if self.under_way is None:
                self.ask(sweep, 100)
            self.learn(0.001)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), back=st.booleans())
    def a_job_ends_or_comes_back(self, data: st.DataObject, back: bool) -> None:
        seq = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(seq)
        if back:
            self.database.ready.add(seq)
            self.database.returns += 1
        else:
            self.database.known.discard(seq)

    @rule()
    def others_take_everything(self) -> None:
        locked = {seq for one in self.database.open for seq in one.locks}
        self.database.known -= self.database.ready - locked
        self.database.ready &= locked

    @invariant()
    def the_places_are_in_order(self) -> None:
        for lane in self.lanes._lanes.values():
            assert 0 <= lane.floor <= lane.cursor
            assert len(lane.marks) <= MOST_MARKS
            assert list(lane.marks) == sorted(lane.marks)
        assert SMALLEST_WINDOW <= self.lanes._window <= LARGEST_WINDOW

    def teardown(self) -> None:
        """End every transaction, without a bell: forward and sweep plans alone must find all that is left."""
        if self.under_way is not None:
            self.learn(0.001)
        for one in list(self.database.open):
            self.database.end(one)
            self.database.ready |= set(one.jobs)
            self.database.known |= set(one.jobs)
        for turn in range(60):
            plan = self.lanes.sweep() if turn % 2 else self.lanes.forward()
            rows, position = self.database.claim(plan, 100)
            self.lanes.learn(plan, rows, position, 0.001)
        assert self.database.ready == set()
        assert self.lanes.swept


TestNoJobIsLost = NoJobIsLost.TestCase
TestNoJobIsLost.settings = settings(
    max_examples=300, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def answer(*, ended: int | None, xid: int | None = None, xmin: int = 0, returns: int = 0) -> dict[str, Any]:
    return {"xmin": xmin, "xid": xid, "newest": 0, "lanes": [["default", 0, returns, ended]]}


def row(seq: int) -> dict[str, Any]:
    return {"queue": "default", "priority": 0, "seq": seq, "returned": False}


def at(lanes: Lanes) -> int:
    return lanes.forward().cursors[0]


def test_a_claim_reads_on_where_the_last_one_ended() -> None:
    lanes = Lanes()
    assert lanes.forward() == Plan([], [], [], [], sweep=False)
    lanes.learn(lanes.forward(), [row(5), row(9)], answer(ended=None), 0.001)
    assert lanes.forward() == Plan(["default"], [0], [9], [None], sweep=False)
    lanes.learn(lanes.forward(), [], answer(ended=12), 0.001)
    assert at(lanes) == 12


def test_a_sweep_reads_one_stretch_after_the_other_from_the_floor_to_where_the_cursor_was() -> None:
    lanes = Lanes()
    lanes.learn(lanes.forward(), [], answer(ended=50_000), 0.001)
    stretches = []
    for _ in range(3):
        plan = lanes.sweep()
        stretches.append((plan.cursors[0], plan.uptos[0]))
        lanes.learn(plan, [], answer(ended=plan.uptos[0], xid=7, xmin=7), 0.01)
        forward = lanes.forward()
        lanes.learn(forward, [], answer(ended=at(lanes) + 100_000), 0.01)
    assert stretches == [(0, 20_000), (20_000, 40_000), (40_000, 50_000)]
    assert lanes.sweep().cursors == [0]


def test_a_sweep_that_finds_work_moves_the_cursor_back_to_it() -> None:
    lanes = Lanes()
    lanes.learn(lanes.forward(), [row(100)], answer(ended=100), 0.001)
    lanes.learn(lanes.sweep(), [row(40), row(41)], answer(ended=None), 0.001)
    assert at(lanes) == 41


def test_the_floor_rises_once_every_transaction_of_then_has_ended_and_a_whole_pass_found_nothing() -> None:
    lanes = Lanes()
    lanes.learn(lanes.forward(), [row(100)], answer(ended=100, xid=20, xmin=15), 0.001)
    for xmin in (15, 15, 21):
        lanes.learn(lanes.sweep(), [], answer(ended=100, xid=21, xmin=xmin), 0.001)
        assert not lanes.swept
    lanes.learn(lanes.sweep(), [], answer(ended=100, xid=22, xmin=22), 0.001)
    assert lanes.swept
    assert lanes.sweep().uptos == [None]


def test_a_job_that_came_back_with_its_old_place_sends_the_sweep_to_the_beginning() -> None:
    lanes = Lanes()
    lanes.learn(lanes.forward(), [], answer(ended=100), 0.001)
    lanes._lanes[LANE].floor = 100
    assert not lanes.learn(lanes.forward(), [], answer(ended=100), 0.001)
    assert lanes.learn(lanes.forward(), [], answer(ended=100, returns=1), 0.001)
    assert lanes.sweep().cursors == [0]


def test_a_bell_behind_the_cursor_moves_it_back_and_one_before_it_does_not() -> None:
    lanes = Lanes()
    lanes.learn(lanes.forward(), [], answer(ended=100), 0.001)
    lanes.hear([["default", 0, 101], ["unknown", 3, 1]])
    assert at(lanes) == 100
    lanes.hear([["default", 0, 60]])
    assert at(lanes) == 59


def test_a_bell_heard_while_a_claim_is_under_way_counts_after_it_also_for_a_new_lane() -> None:
    lanes = Lanes()
    plan = lanes.forward()
    lanes.hear([["default", 0, 60]])
    lanes.learn(plan, [row(100)], answer(ended=100), 0.001)
    assert at(lanes) == 59
    lanes.learn(lanes.forward(), [], answer(ended=100), 0.001)
    assert at(lanes) == 100


def test_stretches_grow_while_they_are_quick_and_shrink_when_they_are_slow() -> None:
    lanes = Lanes()
    lanes.learn(lanes.forward(), [], answer(ended=10**9), 0.001)
    sizes = []
    for seconds in (0.001, 0.1, 0.1):
        plan = lanes.sweep()
        assert plan.uptos[0] is not None
        sizes.append(plan.uptos[0] - plan.cursors[0])
        lanes.learn(plan, [], answer(ended=plan.uptos[0]), seconds)
    assert sizes == [20_000, 40_000, 20_000]


def test_one_lane_named_by_bells_is_read_on_from_its_cursor_and_several_are_not() -> None:
    lanes = Lanes()
    assert lanes.belled(None) is None
    lanes.hear([["mail", 3, 9], ["mail", 3, 7]])
    assert lanes.belled({"default"}) is None
    assert lanes.belled({"mail"}) == Belled("mail", 3, 0)
    assert lanes.belled(None) is None
    lanes.hear([["mail", 3, 9], ["default", 0, 10]])
    assert lanes.belled(None) is None


def test_what_was_taken_from_a_named_lane_moves_its_cursor_and_a_bell_meanwhile_moves_it_back() -> None:
    lanes = Lanes()
    lanes.hear([["default", 0, 5]])
    lane = lanes.belled(None)
    assert lane is not None
    lanes.learn_lane(lane, 6)
    assert at(lanes) == 6
    assert not lanes.swept
    lanes.hear([["default", 0, 9]])
    lane = lanes.belled(None)
    assert lane == Belled("default", 0, 6)
    lanes.hear([["default", 0, 8]])
    lanes.learn_lane(Belled("default", 0, 6), 9)
    assert at(lanes) == 7


def test_a_lane_that_was_removed_is_forgotten_and_read_from_its_beginning_when_it_comes_back() -> None:
    lanes = Lanes()

    def answer(*rows: list[Any]) -> dict[str, Any]:
        return {"xmin": 10, "xid": None, "lanes": list(rows)}

    lanes.learn(lanes.forward(), [], answer(["a", 0, 0, 5], ["b", 0, 0, 7]), 0.001)
    assert lanes.forward().cursors == [5, 7]
    lanes.learn(lanes.forward(), [], answer(["b", 0, 0, 7]), 0.001)
    assert lanes.forward().queues == ["b"]
    lanes.learn(lanes.forward(), [], answer(["a", 0, 0, None], ["b", 0, 0, 7]), 0.001)
    assert dict(zip(lanes.forward().queues, lanes.forward().cursors, strict=True)) == {"b": 7, "a": 0}
