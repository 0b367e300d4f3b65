"""What a schedule fires now: each tick once, in order, none on time missed, whatever the clock does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqueue.errors import InvalidOption
from openqueue.scheduler.firetimes import Firetimes
from openqueue.scheduler.planner import ON_TIME, Plan, Policy, Skipped, jittered, plan
from openqueue.scheduler.rules import Rule

MADE = datetime(2026, 1, 10, 8, 30, 15, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3_600, 86_400))
HOURLY = Firetimes(Rule(cron="@hourly"), key="key", anchor=MADE)
SECONDLY = Firetimes(Rule(every=SECOND), key="key", anchor=MADE)


def at(hour: int, minute: int = 0, second: float = 0) -> datetime:
    return datetime(2026, 1, 10, tzinfo=UTC) + timedelta(hours=hour, minutes=minute, seconds=second)


def hourly(now: datetime, cursor: datetime | None = None, **options: Any) -> Plan:
    policy = Policy(**{name: options.pop(name) for name in list(options) if name in Policy.__slots__})
    return plan(
        HOURLY, policy, key="key", since=options.pop("since", MADE), now=now, cursor=cursor, **options
    )


def fired(found: Plan) -> list[datetime]:
    return [tick.at for tick in found.fire]


def flagged(found: Plan) -> list[bool]:
    return [tick.catch_up for tick in found.fire]


def test_a_new_schedule_has_missed_nothing_and_waits_for_its_next_tick() -> None:
    found = hourly(now=MADE, catch_up=5)
    assert found == Plan(fire=(), skipped=(), cursor=None, fired=0, next_at=at(9))
    assert not found.finished


def test_a_tick_is_fired_at_its_time() -> None:
    assert fired(hourly(now=at(9, 0, -0.001))) == []
    found = hourly(now=at(9))
    (tick,) = found.fire
    assert (tick.at, tick.run_at, tick.number, tick.catch_up) == (at(9), at(9), 1, False)
    assert tick.previous == at(8)
    assert (found.cursor, found.fired, found.next_at, found.skipped) == (at(9), 1, at(10), ())


def test_the_cursor_is_the_scheduled_time_and_not_the_firings() -> None:
    assert hourly(now=at(9, 0, 30)).cursor == at(9)


@pytest.mark.parametrize("late", [0, 0.05, 10, 59.9, 60])
def test_a_tick_that_a_handover_delayed_is_on_time(late: float) -> None:
    found = hourly(now=at(12, 0, late), cursor=at(11))
    assert (fired(found), flagged(found), found.skipped) == ([at(12)], [False], ())


def test_a_tick_is_missed_when_it_is_later_than_that() -> None:
    found = hourly(now=at(12) + ON_TIME + SECOND, cursor=at(11))
    assert fired(found) == []
    assert found.skipped == (Skipped("missed", 1, at(12), at(12)),)
    assert (found.cursor, found.next_at, found.fired) == (at(12), at(13), 0)


def test_handover_is_shorter_than_what_counts_as_on_time() -> None:
    assert timedelta(seconds=20) < ON_TIME


@pytest.mark.parametrize(
    ("catch_up", "minutes", "runs", "late", "skipped"),
    [
        # down from 9 to 15:00:05: six hours due, the newest of them on time
        (0, 0, [15], [False], (5, 10, 14)),
        (1, 0, [14, 15], [True, False], (4, 10, 13)),
        (3, 0, [12, 13, 14, 15], [True, True, True, False], (2, 10, 11)),
        (5, 0, [10, 11, 12, 13, 14, 15], [True] * 5 + [False], None),
        (99, 0, [10, 11, 12, 13, 14, 15], [True] * 5 + [False], None),
        # down from 9 to 15:20:05: none is on time
        (0, 20, [], [], (6, 10, 15)),
        (1, 20, [15], [True], (5, 10, 14)),
        (99, 20, [10, 11, 12, 13, 14, 15], [True] * 6, None),
    ],
)
def test_T4_after_a_downtime_the_newest_missed_ticks_run_flagged_besides_the_one_on_time(
    catch_up: int, minutes: int, runs: list[int], late: list[bool], skipped: tuple[int, int, int] | None
) -> None:
    found = hourly(now=at(15, minutes, 5), cursor=at(9), catch_up=catch_up, fired=7)
    assert fired(found) == [at(hour) for hour in runs]
    assert flagged(found) == late
    assert [tick.number for tick in found.fire] == [8 + n for n in range(len(runs))]
    assert [tick.previous for tick in found.fire] == [at(hour - 1) for hour in runs]
    count, first, last = skipped or (0, 0, 0)
    assert found.skipped == ((Skipped("missed", count, at(first), at(last)),) if skipped else ())
    assert (found.cursor, found.next_at, found.fired) == (at(15), at(16), 7 + len(runs))


def test_a_resumed_schedule_has_missed_nothing_of_the_time_before() -> None:
    found = hourly(now=at(15, 20), cursor=at(9), since=at(15, 10), catch_up=9)
    assert found == Plan(fire=(), skipped=(), cursor=at(9), fired=0, next_at=at(16))


def test_what_came_due_after_the_resuming_is_caught_up() -> None:
    found = hourly(now=at(15, 20), cursor=at(9), since=at(13, 30), catch_up=9)
    assert fired(found) == [at(14), at(15)]


@pytest.mark.parametrize("back", [0.001, 60, 3_600, 86_400])
def test_a_clock_that_jumps_back_fires_nothing_again(back: float) -> None:
    found = hourly(now=at(12) - timedelta(seconds=back), cursor=at(12), catch_up=9, fired=4)
    assert found == Plan(fire=(), skipped=(), cursor=at(12), fired=4, next_at=at(13))


def test_a_clock_behind_the_making_waits_for_the_first_tick_after_it() -> None:
    assert hourly(now=MADE - DAY).next_at == at(9)


def test_after_max_runs_a_schedule_is_finished() -> None:
    found = hourly(now=at(12), cursor=at(11), max_runs=3, fired=2)
    assert (fired(found), found.fired, found.next_at, found.finished) == ([at(12)], 3, None, True)
    after = hourly(now=at(13), cursor=at(12), max_runs=3, fired=3)
    assert after == Plan(fire=(), skipped=(), cursor=at(12), fired=3, next_at=None)


def test_of_more_ticks_than_are_left_the_newest_run() -> None:
    found = hourly(now=at(15, 0, 5), cursor=at(9), catch_up=9, max_runs=2)
    assert (fired(found), flagged(found)) == ([at(14), at(15)], [True, False])
    assert found.skipped == (Skipped("missed", 4, at(10), at(13)),)
    only = hourly(now=at(15, 0, 5), cursor=at(9), catch_up=9, max_runs=1)
    assert (fired(only), flagged(only), only.finished) == ([at(15)], [False], True)


def test_a_skipped_tick_is_not_counted_to_max_runs() -> None:
    found = hourly(now=at(15, 20), cursor=at(9), max_runs=2)
    assert (found.fired, found.finished) == (0, False)


def test_past_its_end_a_schedule_is_finished() -> None:
    times = Firetimes(Rule(cron="@hourly", end_at=at(12)), key="key", anchor=MADE)
    found = plan(times, Policy(), key="key", since=MADE, now=at(12), cursor=at(11))
    assert (fired(found), found.next_at) == ([at(12)], None)
    later = plan(times, Policy(catch_up=1), key="key", since=MADE, now=at(20), cursor=at(10))
    assert (fired(later), flagged(later), later.next_at) == ([at(12)], [True], None)


def test_the_first_tick_of_a_schedule_with_a_start_has_no_previous_one() -> None:
    times = Firetimes(Rule(cron="@hourly", start_at=at(12)), key="key", anchor=MADE)
    waiting = plan(times, Policy(), key="key", since=MADE, now=at(10))
    assert (waiting.fire, waiting.next_at) == ((), at(12))
    (tick,) = plan(times, Policy(), key="key", since=MADE, now=at(12)).fire
    assert tick.previous is None


def test_a_start_that_lies_before_the_making_makes_no_missed_ticks() -> None:
    times = Firetimes(Rule(cron="@hourly", start_at=MADE - 9 * DAY), key="key", anchor=MADE)
    assert plan(times, Policy(catch_up=9), key="key", since=MADE, now=MADE).fire == ()


def test_jitter_delays_the_run_and_nothing_else() -> None:
    found = hourly(now=at(9), jitter="30s")
    (tick,) = found.fire
    assert tick.at == found.cursor == at(9)
    assert at(9) < tick.run_at < at(9) + timedelta(seconds=30)
    assert found.next_at == at(10)
    assert hourly(now=at(9, 0, 40), jitter="30s").fire == found.fire


def test_jitter_is_stable_per_tick_and_spread_over_its_width() -> None:
    width = timedelta(seconds=30)
    delays = [jittered("key", at(0) + n * MINUTE, width) for n in range(1_000)]
    assert delays == [jittered("key", at(0) + n * MINUTE, width) for n in range(1_000)]
    assert all(timedelta(0) <= delay < width for delay in delays)
    tenths = [sum(n * width / 10 <= delay < (n + 1) * width / 10 for delay in delays) for n in range(10)]
    assert min(tenths) > 60
    assert delays != [jittered("other", at(0) + n * MINUTE, width) for n in range(1_000)]
    assert jittered("key", at(0), timedelta(0)) == timedelta(0)


def test_a_jitter_never_moves() -> None:
    """Promised: the same in every version, so that a tick planned twice is one tick."""
    assert jittered("nightly-report", at(9), timedelta(minutes=5)) == timedelta(
        seconds=212, microseconds=932163
    )


def test_a_schedule_each_second_that_is_watched_loses_none_to_a_slow_look() -> None:
    """Without `watched`, what was due during three seconds would be taken for a downtime."""
    now, cursor = MADE + 13.4 * SECOND, MADE + 10 * SECOND
    found = plan(SECONDLY, Policy(), key="key", since=MADE, now=now, cursor=cursor, watched=MADE + 5 * SECOND)
    assert fired(found) == [MADE + n * SECOND for n in (11, 12, 13)]
    assert flagged(found) == [False] * 3
    unwatched = plan(SECONDLY, Policy(), key="key", since=MADE, now=now, cursor=cursor)
    assert fired(unwatched) == [MADE + 13 * SECOND]
    assert unwatched.skipped == (Skipped("missed", 2, MADE + 11 * SECOND, MADE + 12 * SECOND),)


def test_what_was_due_before_the_watching_began_is_missed() -> None:
    now, cursor = MADE + 30.4 * SECOND, MADE + 10 * SECOND
    found = plan(
        SECONDLY,
        Policy(catch_up=1),
        key="key",
        since=MADE,
        now=now,
        cursor=cursor,
        watched=MADE + 28 * SECOND,
    )
    assert fired(found) == [MADE + n * SECOND for n in (27, 28, 29, 30)]
    assert flagged(found) == [True, False, False, False]


def test_what_is_later_than_on_time_is_missed_even_if_watched() -> None:
    found = hourly(now=at(12, 5), cursor=at(11), watched=at(9))
    assert (fired(found), found.skipped) == ([], (Skipped("missed", 1, at(12), at(12)),))


def test_a_year_of_missed_seconds_is_planned_without_looking_at_each() -> None:
    began = process_time()
    times = Firetimes(Rule(cron="* * * * * *", timezone="Europe/Berlin"), key="key", anchor=MADE)
    found = plan(times, Policy(catch_up=3), key="key", since=MADE, now=MADE + 365 * DAY, cursor=MADE)
    assert process_time() - began < 10  # milliseconds; a look at each of 31 million takes minutes
    assert len(found.fire) == 4
    assert found.skipped == (
        Skipped("missed", 365 * 86_400 - 4, MADE + SECOND, MADE + 365 * DAY - 4 * SECOND),
    )


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"catch_up": -1}, "catch_up"),
        ({"catch_up": 1_001}, "catch_up"),
        ({"catch_up": True}, "catch_up"),
        ({"catch_up": "1"}, "catch_up"),
        ({"max_runs": 0}, "max_runs"),
        ({"max_runs": 1.5}, "max_runs"),
        ({"jitter": "-1s"}, "jitter"),
        ({"jitter": "soon"}, "jitter"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: Any, option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        Policy(**options)
    assert caught.value.option == option
    assert str(caught.value).startswith(f"{option}: ")


@dataclass
class Loop:
    """A scheduler as the planner sees it: it looks, stores what it is told, and looks again."""

    times: Firetimes
    policy: Policy
    since: datetime
    cursor: datetime | None = None
    count: int = 0
    fired: list[tuple[datetime, bool]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def look(self, now: datetime) -> Plan:
        found = plan(
            self.times, self.policy, key="k", since=self.since, now=now, cursor=self.cursor, fired=self.count
        )
        self.fired += [(tick.at, tick.catch_up) for tick in found.fire]
        self.skipped += found.skipped
        self.cursor, self.count = found.cursor, found.fired
        return found


rules = st.sampled_from(
    [
        Rule(cron="*/10 * * * *", timezone="Europe/Berlin"),
        Rule(cron="30 2 * * *", timezone="Europe/Berlin"),
        Rule(cron="0,20 1-3 * * *", timezone="Australia/Lord_Howe"),
        Rule(cron="*/20 * * * * *"),
        Rule(every=timedelta(seconds=45)),
        Rule(every=timedelta(hours=5)),
        Rule(every=timedelta(hours=1), end_at=datetime(2026, 4, 1, tzinfo=UTC)),
    ]
)
steps = st.lists(
    st.one_of(
        st.timedeltas(timedelta(0), timedelta(seconds=90)),
        st.timedeltas(timedelta(hours=-5), timedelta(hours=30)),
        st.just("next"),
        st.just("resume"),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150)
@given(rules, st.integers(0, 4), st.none() | st.integers(1, 9), steps)
def test_over_any_looks_each_tick_is_fired_once_in_order_or_skipped_and_none_on_time_missed(
    rule: Rule, catch_up: int, max_runs: int | None, moves: list[timedelta | str]
) -> None:
    now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    times = Firetimes(rule, key="k", anchor=now)
    loop = Loop(times, Policy(catch_up=catch_up, max_runs=max_runs), since=now)
    for move in moves:
        if move == "resume":
            loop.since = now
        before, fired_before = max(loop.since, loop.cursor or loop.since), len(loop.fired)
        missed_before = sum(one.count for one in loop.skipped)
        found = loop.look(now)

        due = list(times.between(before, now))
        new = loop.fired[fired_before:]
        if not found.finished:
            # Nothing due is forgotten: it is fired, or told to be skipped.
            assert len(new) + sum(one.count for one in loop.skipped) - missed_before == len(due)
        assert [tick for tick, _ in new] == due[len(due) - len(new) :]
        assert sum(late for _, late in new) <= catch_up
        assert max_runs is None or found.fired <= max_runs
        if due and now - due[-1] <= ON_TIME and (max_runs is None or len(loop.fired) < max_runs or new):
            assert new[-1] == (due[-1], False)
        assert found.next_at is None or found.next_at > max(now, before)

        if isinstance(move, timedelta):
            now += move
        elif move == "next" and found.next_at:
            now = found.next_at
    instants = [tick for tick, _ in loop.fired]
    assert instants == sorted(set(instants))
    assert loop.count == len(instants)


@given(rules, st.lists(st.timedeltas(timedelta(0), timedelta(seconds=50)), min_size=1, max_size=30))
def test_who_looks_within_the_grace_of_each_tick_fires_them_all_on_time(
    rule: Rule, delays: list[timedelta]
) -> None:
    now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    times = Firetimes(rule, key="k", anchor=now)
    loop, began = Loop(times, Policy(), since=now), now
    for delay in delays:
        found = plan(
            times,
            loop.policy,
            key="k",
            since=began,
            now=now,
            cursor=loop.cursor,
            fired=loop.count,
            watched=began,
        )
        loop.fired += [(tick.at, tick.catch_up) for tick in found.fire]
        loop.cursor, loop.count = found.cursor, found.fired
        assert found.skipped == ()
        if found.next_at is None:
            break
        now = max(found.next_at, now) + delay
    assert [tick for tick, late in loop.fired if not late] == list(times.between(began, loop.cursor or began))
