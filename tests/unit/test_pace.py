"""When a producer claims: every moment is given, nothing waits."""

from __future__ import annotations

import pytest

from openqueue.worker.intake.pace import BUSY_POLL, OVERDUE, SWEEP_EVERY, SWEEP_SHARE, SWEEP_SOON, Pace


def claimed(
    pace: Pace,
    now: float,
    took: float = 0.0,
    *,
    sweep: bool = False,
    promoted: bool = False,
    got: int = 0,
    full: bool = False,
    due: float | None = None,
) -> None:
    pace.claimed(now, took, sweep=sweep, promoted=promoted, got=got, full=full, due=due)


def test_a_bell_may_tell_of_an_earlier_scheduled_job_and_not_of_a_later_one() -> None:
    pace = Pace(poll=60)
    claimed(pace, 10.0, due=100.0)
    pace.due_in(500, 10.0)
    assert pace.due_at == 110.0
    pace.due_in(0.5, 10.0)
    assert pace.due_at == 10.5
    assert pace.wait(10.2, 60, bell=True, swept=True) == pytest.approx(0.3)
    assert pace.promotes(10.5, sweep=False)


def test_a_due_job_that_somebody_has_locked_is_looked_for_ever_more_seldom() -> None:
    pace = Pace(poll=60)
    pauses = []
    for _ in range(7):
        claimed(pace, 0.0, promoted=True, due=-1.0)
        pauses.append(pace.due_at)
    assert pauses == [OVERDUE[0] * 2**n for n in range(5)] + [OVERDUE[1]] * 2
    claimed(pace, 7.0, due=-1.0)
    assert pace.due_at == 7.0
    claimed(pace, 0.0, promoted=True, due=-1.0)
    assert pace.due_at == OVERDUE[0]
    claimed(pace, 7.0, promoted=True, due=3.0)
    assert pace.due_at == 10.0
    claimed(pace, 7.0, promoted=True)
    assert pace.due_at is None


def test_sweeps_follow_jobs_soon_and_quiet_ever_more_seldom_and_backlog_seldom() -> None:
    pace = Pace(poll=60)
    claimed(pace, 10.0, got=3)
    assert pace.sweep_at == SWEEP_SOON
    gaps = []
    for _ in range(8):
        claimed(pace, 10.0, sweep=True)
        gaps.append(round(pace.sweep_at - 10.0, 3))
    assert gaps == [0.04, 0.08, 0.16, 0.32, 0.64, SWEEP_EVERY, SWEEP_EVERY, SWEEP_EVERY]
    claimed(pace, 20.0, 0.1, sweep=True, got=5, full=True)
    assert pace.sweep_at == 20.0 + SWEEP_SHARE * 0.1 + SWEEP_EVERY


def test_after_a_look_at_one_lane_all_are_looked_at_soon_however_often_the_bell_rings() -> None:
    pace = Pace(poll=60)
    claimed(pace, 10.0, sweep=True, promoted=True)
    for ring in range(10):
        pace.claimed_lane(10.0 + ring / 100, 1)
        assert pace.sweep_at == 10.0 + SWEEP_SOON
    assert not pace.sweeps(10.01, swept=True)
    assert pace.wait(10.01, 60, bell=True, swept=True) == pytest.approx(0.01)
    assert pace.sweeps(10.02, swept=True)
    claimed(pace, 10.02, sweep=True, promoted=True)
    assert not pace.sweeps(99.0, swept=True)
    assert pace.wait(10.03, 60, bell=True, swept=True) == 60


def test_while_the_bell_is_off_looks_follow_each_other_soon_and_slower_while_there_is_nothing() -> None:
    pace = Pace(poll=60)
    waits = [pace.wait(10.0, 60, bell=False, swept=True) for _ in range(4)]
    assert waits == [BUSY_POLL[0], BUSY_POLL[0] * 2, BUSY_POLL[0] * 4, BUSY_POLL[1]]
    claimed(pace, 10.0, got=1)
    assert pace.wait(10.0, 60, bell=False, swept=True) == BUSY_POLL[0]


def test_who_is_told_to_sweep_does_not_wait() -> None:
    pace = Pace(poll=60)
    claimed(pace, 10.0, sweep=True, promoted=True)
    pace.sweep_soon()
    assert pace.wait(10.0, 60, bell=True, swept=True) == 0.0
    assert pace.sweeps(10.0, swept=True)
    assert not pace.sweeps(10.0, swept=True)


def test_a_look_at_everything_is_owed_for_due_jobs_the_floor_sweeps_and_soon_after_one_lane_was_read() -> (
    None
):
    pace = Pace(poll=2)
    assert pace.owes_a_look(0.0)
    claimed(pace, 10.0, sweep=True, promoted=True, due=0.5)
    assert not pace.owes_a_look(10.4)
    assert pace.owes_a_look(10.5)
    claimed(pace, 10.0, sweep=True, promoted=True)
    assert not pace.owes_a_look(11.9)
    assert pace.owes_a_look(12.0)
    pace.claimed_lane(10.0, 1)
    assert not pace.owes_a_look(10.01)
    assert pace.owes_a_look(10.0 + SWEEP_SOON)
    claimed(pace, 10.0, sweep=True, promoted=True)
    pace.sweep_soon()
    assert pace.owes_a_look(10.0)
