"""The times of rules, compared with cronsim, with the definition, and with what was promised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from openqueue.errors import InvalidOption
from openqueue.scheduler.firetimes import Firetimes
from openqueue.scheduler.rules import Rule
from openqueue.scheduler.zones import period_at
from tests.support.crontabs import by_definition, expressions

MADE = datetime(2026, 1, 10, 8, 30, 15, tzinfo=UTC)
FAR = datetime(2190, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)

# cronsim is not an oracle where a clock is not changed by and at whole hours: in Lord Howe it loses times
# of a wildcard, and in St John's of 2008 (00:01) it never ends. There the definition is.
WHOLE_HOURS = (
    "Europe/Berlin",
    "America/New_York",
    "Europe/London",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "UTC",
)
ZONES = (
    *WHOLE_HOURS,
    *("Australia/Lord_Howe", "America/St_Johns", "America/Havana", "Asia/Tehran", "Asia/Beirut"),
    *("America/Sao_Paulo", "Europe/Dublin", "Antarctica/Troll", "Pacific/Chatham"),
)

moments = st.datetimes(datetime(1998, 1, 1), datetime(2040, 1, 1)).map(  # noqa: DTZ001 made aware
    lambda naive: naive.replace(microsecond=0, tzinfo=UTC)
)


def cron(text: str, zone: str = "UTC", **options: datetime) -> Firetimes:
    return Firetimes(Rule(cron=text, timezone=zone, **options), key="key", anchor=MADE)  # type: ignore[arg-type]


def first(times: Firetimes, after: datetime, count: int) -> list[datetime]:
    return list(islice(times.between(after, FAR), count))


@st.composite
def near_a_change(draw: st.DrawFn, zones: tuple[str, ...]) -> tuple[str, datetime]:
    """A zone, and a moment up to a day before its clock is changed (or a year begins)."""
    zone = draw(st.sampled_from(zones))
    change = period_at(ZoneInfo(zone), draw(moments).replace(tzinfo=None)).end.replace(tzinfo=UTC)
    return zone, change - timedelta(minutes=draw(st.integers(0, 1_440)))


@settings(max_examples=150)
@given(expressions(), st.sampled_from(WHOLE_HOURS), moments)
def test_times_are_those_of_cronsim_over_years(text: str, zone: str, start: datetime) -> None:
    agree_with_cronsim(text, zone, start)


@settings(max_examples=300)
@given(expressions(), near_a_change(WHOLE_HOURS))
def test_times_are_those_of_cronsim_when_the_clock_is_changed(text: str, at: tuple[str, datetime]) -> None:
    agree_with_cronsim(text, *at)


def agree_with_cronsim(text: str, zone: str, start: datetime) -> None:
    expected: list[datetime] = []
    for instant in CronSim(text, start.astimezone(ZoneInfo(zone))):
        if start < instant.astimezone(UTC) and instant.astimezone(UTC) not in expected[-1:]:
            expected.append(instant.astimezone(UTC))
        if len(expected) == 8:
            break
    assert first(cron(text, zone), start, 8) == expected


@settings(max_examples=150)
@given(expressions(), near_a_change(ZONES))
def test_times_are_those_of_the_definition_in_every_zone(text: str, at: tuple[str, datetime]) -> None:
    zone, start = at
    end = start + timedelta(days=2)
    assert list(cron(text, zone).between(start, end)) == by_definition(text, ZoneInfo(zone), start, end)


@settings(max_examples=200)
@given(expressions() | expressions(seconds=True), near_a_change(ZONES))
def test_backwards_and_counted_they_are_the_same(text: str, at: tuple[str, datetime]) -> None:
    zone, start = at
    times = cron(text, zone)
    forwards = first(times, start, 60)
    backwards: list[datetime] = []
    found = times.previous(forwards[-1] + INSTANT)
    while found is not None and found > start:
        backwards.append(found)
        found = times.previous(found)
    assert backwards[::-1] == forwards
    assert times.count(start, forwards[-1]) == len(forwards)
    assert times.count(forwards[0], forwards[-1] - INSTANT) == len(forwards) - 2


@given(expressions(), near_a_change(ZONES))
def test_a_second_of_zero_changes_nothing(text: str, at: tuple[str, datetime]) -> None:
    zone, start = at
    assert first(cron(f"0 {text}", zone), start, 10) == first(cron(text, zone), start, 10)


# Local walls with their offsets, from the first on: T3 of the scenarios.
CHANGES = [
    # New York, 2026: 8 March 02:00 -> 03:00, 1 November 02:00 -> 01:00
    ("America/New_York", "30 2 * * *", "2026-03-07T12-05", "08T03:00-04 09T02:30-04 10T02:30-04"),
    ("America/New_York", "0 2,3 * * *", "2026-03-08T00-05", "08T03:00-04 09T02:00-04"),
    ("America/New_York", "0,30 2 * * *", "2026-03-08T00-05", "08T03:00-04 09T02:00-04"),
    ("America/New_York", "*/30 * * * *", "2026-03-08T01:00-05", "08T01:30-05 08T03:00-04 08T03:30-04"),
    ("America/New_York", "*/30 2 * * *", "2026-03-07T12-05", "09T02:00-04 09T02:30-04"),
    ("America/New_York", "0 */2 * * *", "2026-03-08T00-05", "08T04:00-04 08T06:00-04"),
    ("America/New_York", "30 1 * * *", "2026-10-31T12-04", "01T01:30-04 02T01:30-05"),
    ("America/New_York", "0 2 * * *", "2026-10-31T12-04", "01T02:00-05 02T02:00-05"),
    (
        "America/New_York",
        "*/30 1 * * *",
        "2026-10-31T12-04",
        "01T01:00-04 01T01:30-04 01T01:00-05 01T01:30-05",
    ),
    ("America/New_York", "0 * * * *", "2026-11-01T00:30-04", "01T01:00-04 01T01:00-05 01T02:00-05"),
    # London, 2026: 29 March 01:00 -> 02:00, 25 October 02:00 -> 01:00
    ("Europe/London", "30 1 * * *", "2026-03-28T12+00", "29T02:00+01 30T01:30+01"),
    ("Europe/London", "0 1 * * *", "2026-03-28T12+00", "29T02:00+01 30T01:00+01"),
    ("Europe/London", "15 * * * *", "2026-03-29T00:00+00", "29T00:15+00 29T02:15+01"),
    ("Europe/London", "30 1 * * *", "2026-10-24T12+01", "25T01:30+01 26T01:30+00"),
    ("Europe/London", "15 * * * *", "2026-10-25T00:30+01", "25T01:15+01 25T01:15+00 25T02:15+00"),
    # Lord Howe, 2026: 5 April 02:00 -> 01:30 (half an hour), 4 October 02:00 -> 02:30
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12+10:30", "04T02:30+11 05T02:15+11"),
    ("Australia/Lord_Howe", "45 2 * * *", "2026-10-03T12+10:30", "04T02:45+11 05T02:45+11"),
    (
        "Australia/Lord_Howe",
        "*/15 * * * *",
        "2026-10-04T01:30+10:30",
        "04T01:45+10:30 04T02:30+11 04T02:45+11",
    ),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12+11", "05T01:45+11 06T01:45+10:30"),
    (
        "Australia/Lord_Howe",
        "*/15 1 * * *",
        "2026-04-05T01:20+11",
        "05T01:30+11 05T01:45+11 05T01:30+10:30 05T01:45+10:30",
    ),
    # With seconds the rules are the same.
    ("America/New_York", "15 30 2 * * *", "2026-03-07T12-05", "08T03:00-04 09T02:30:15-04"),
    ("America/New_York", "15 30 1 * * *", "2026-10-31T12-04", "01T01:30:15-04 02T01:30:15-05"),
    (
        "America/New_York",
        "*/30 30 1 * * *",
        "2026-11-01T00-04",
        "01T01:30-04 01T01:30:30-04 01T01:30-05 01T01:30:30-05",
    ),
]


@pytest.mark.parametrize(("zone", "text", "start", "expected"), CHANGES)
def test_T3_fixed_times_run_once_and_wildcards_follow_the_wall_clock(
    zone: str, text: str, start: str, expected: str
) -> None:
    after = datetime.fromisoformat(start)
    found = first(cron(text, zone), after, len(expected.split()))
    assert [_local(instant, zone) for instant in found] == expected.split()


def _local(instant: datetime, zone: str) -> str:
    local = instant.astimezone(ZoneInfo(zone))
    clock = local.strftime("%dT%H:%M") + (local.strftime(":%S") if local.second else "")
    offset = local.strftime("%z")
    return clock + offset[:3] + (f":{offset[3:]}" if offset[3:] != "00" else "")


def test_times_left_out_that_meet_another_at_the_end_of_the_gap_are_one() -> None:
    times = cron("0 2,3 * * *", "America/New_York")
    start, end = datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)
    assert times.count(start, end) == len(list(times.between(start, end))) == 1
    assert times.previous(end) == datetime(2026, 3, 8, 7, tzinfo=UTC)


def test_a_day_that_a_zone_left_out_fires_once_at_its_end() -> None:
    """Samoa had no 30 December 2011."""
    found = first(cron("0 9 30 12 *", "Pacific/Apia"), datetime(2011, 12, 1, tzinfo=UTC), 2)
    assert [_local(instant, "Pacific/Apia") for instant in found] == ["31T00:00+14", "30T09:00+14"]


def test_leap_days_are_found_over_a_century_that_has_none() -> None:
    found = first(cron("0 0 29 2 *"), datetime(2092, 3, 1, tzinfo=UTC), 2)
    assert [instant.year for instant in found] == [2096, 2104]
    assert cron("0 0 29 2 *").previous(datetime(2104, 2, 29, tzinfo=UTC)) == found[0]


def test_a_leap_day_on_one_weekday_can_be_forty_years_away() -> None:
    found = first(cron("0 0 29 2 */6"), datetime(2076, 1, 1, tzinfo=UTC), 3)
    assert [(day.day, day.month) for day in found] == [(29, 2)] * 3
    assert {day.strftime("%a") for day in found} <= {"Sun", "Sat"}


def test_a_schedule_each_second_has_each_second() -> None:
    found = first(cron("* * * * * *", "Europe/Berlin"), datetime(2026, 3, 29, 0, 59, 30, tzinfo=UTC), 120)
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(seconds=1)}


def test_times_are_strictly_after_and_strictly_before_to_the_microsecond() -> None:
    times = cron("0 2 * * *")
    two = datetime(2026, 5, 5, 2, tzinfo=UTC)
    day = timedelta(days=1)
    assert times.next(two) == two + day
    assert times.next(two - INSTANT) == two
    assert times.previous(two) == two - day
    assert times.previous(two + INSTANT) == two
    assert list(times.between(two, two + day)) == [two + day]
    assert times.count(two, two + day) == 1
    assert times.count(two, two) == times.count(two, two - day) == 0


@pytest.mark.parametrize("text", ["0 0 * * *", "* * * * * *"])
def test_bounds_are_included(text: str) -> None:
    start = datetime(2026, 5, 5, tzinfo=UTC)
    end = datetime(2026, 5, 7, tzinfo=UTC)
    times = cron(text, start_at=start, end_at=end)
    assert times.next(MADE) == start
    assert times.previous(FAR) == end
    assert times.next(end) is None
    assert times.next(end - INSTANT) == end
    assert times.previous(start) is None
    assert times.previous(start + INSTANT) == start
    assert times.count(MADE, FAR) == (3 if text == "0 0 * * *" else 2 * 86_400 + 1)


def test_an_interval_counts_from_when_it_was_made_without_drift() -> None:
    times = Firetimes(Rule(every="5m"), key="key", anchor=MADE)  # type: ignore[arg-type]
    assert times.next(MADE) == MADE + timedelta(minutes=5)
    assert times.next(MADE + timedelta(minutes=7, seconds=3)) == MADE + timedelta(minutes=10)
    assert times.previous(MADE + INSTANT) == MADE
    assert times.previous(MADE) == MADE - timedelta(minutes=5)  # for a backfill
    assert times.next(MADE + timedelta(days=3650)) == MADE + timedelta(days=3650, minutes=5)


def test_an_interval_with_a_start_counts_from_it_and_has_none_before() -> None:
    start = datetime(2026, 5, 5, tzinfo=UTC)
    times = Firetimes(Rule(every=timedelta(hours=7), start_at=start), key="key", anchor=MADE)
    assert first(times, MADE, 2) == [start, start + timedelta(hours=7)]
    assert times.previous(start) is None


def test_an_interval_of_a_day_is_24_hours_when_the_clock_is_changed() -> None:
    noon = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    times = Firetimes(
        Rule(every=timedelta(days=1), timezone="Europe/Berlin", start_at=noon), key="k", anchor=MADE
    )
    local = [_local(instant, "Europe/Berlin") for instant in first(times, noon, 2)]
    assert local == ["29T13:00+02", "30T13:00+02"]


@given(
    st.timedeltas(timedelta(seconds=1), timedelta(days=3_660)),
    moments,
    st.timedeltas(timedelta(days=-900), timedelta(days=900)),
)
def test_intervals_are_whole_numbers_of_themselves_from_the_anchor(
    every: timedelta, anchor: datetime, distance: timedelta
) -> None:
    times = Firetimes(Rule(every=every), key="key", anchor=anchor)
    found, before = times.next(anchor + distance), times.previous(anchor + distance)
    assert found
    assert before
    assert (found - anchor) % every == (before - anchor) % every == timedelta(0)
    assert before < anchor + distance < found or anchor + distance - before == every
    assert times.count(before, found) == (found - before) // every


def test_moments_of_any_zone_are_taken_and_utc_is_given() -> None:
    there = MADE.astimezone(timezone(timedelta(hours=-7)))
    found = cron("0 2 * * *", "Europe/Berlin").next(there)
    assert found == cron("0 2 * * *", "Europe/Berlin").next(MADE)
    assert found
    assert found.tzinfo is UTC


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidOption, match="has no time zone"):
        cron("0 2 * * *").next(MADE.replace(tzinfo=None))


def test_h_is_chosen_by_the_key() -> None:
    rule = Rule(cron="H H * * *")
    found = {Firetimes(rule, key=f"tenant-{n}", anchor=MADE).next(MADE) for n in range(30)}
    assert len(found) > 20
    assert found == {Firetimes(rule, key=f"tenant-{n}", anchor=MADE).next(MADE) for n in range(30)}


def test_ten_thousand_next_times_are_cheap() -> None:
    """0.2 s on a slow machine, where croniter took 2.3 s; the bound is far above both noise and need."""
    zones = [*WHOLE_HOURS, "Australia/Lord_Howe"]
    rules = [Rule(cron=f"{n % 60} {n // 60 % 24} * * {n % 7}", timezone=zones[n % 7]) for n in range(10_000)]
    times = [Firetimes(rule, key="key", anchor=MADE) for rule in rules]
    assert all(one.next(MADE) for one in times)
    began = process_time()
    for one in times:
        one.next(MADE)
    assert process_time() - began < 5


def test_a_year_of_seconds_is_counted_without_looking_at_each() -> None:
    times = cron("* * * * * *", "Europe/Berlin")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert times.count(start - INSTANT, start.replace(year=2027) - INSTANT) == 365 * 86_400
