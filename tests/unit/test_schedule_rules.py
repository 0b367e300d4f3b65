"""Rules of schedules, checked when they are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

from openqueue.errors import InvalidOption
from openqueue.scheduler.rules import Rule
from openqueue.scheduler.zones import check_timezone, period_at

MOMENT = datetime(2026, 3, 29, 12, tzinfo=UTC)


def refused(**options: Any) -> InvalidOption:
    with pytest.raises(InvalidOption) as caught:
        Rule(**options)
    return caught.value


def test_a_rule_has_cron_or_an_interval_and_not_both() -> None:
    assert "cron '0 2 * * *' or every '5m'" in str(refused())
    assert refused(cron="@daily", every="5m").option == "every"


@pytest.mark.parametrize("every", ["5m", 300, 300.0, timedelta(minutes=5), "PT5M"])
def test_an_interval_is_read_as_any_duration(every: Any) -> None:
    assert Rule(every=every).every == timedelta(minutes=5)


@pytest.mark.parametrize("every", ["0s", "999ms", "0.5", "3661d", "-5m", "soon", True, float("nan")])
def test_an_interval_is_at_least_a_second_and_at_most_ten_years(every: Any) -> None:
    error = refused(every=every)
    assert error.option == "every"
    assert str(error).startswith("every: ")


@pytest.mark.parametrize("option", ["start_at", "end_at"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (MOMENT.replace(tzinfo=None), "has no time zone"),
        ("2026-01-01T00:00:00", "has no time zone"),
        ("tomorrow", "is not a moment"),
        (datetime(9999, 12, 31, tzinfo=UTC), "Leave it out for no bound"),
        (datetime(1969, 12, 31, tzinfo=UTC), "is not between 1970 and 2199"),
        (5, "must be a datetime"),
    ],
)
def test_a_bound_is_a_moment_with_its_zone(option: str, value: Any, why: str) -> None:
    error = refused(cron="@daily", **{option: value})
    assert why in str(error)
    assert error.option == option


def test_an_end_before_the_start_is_refused() -> None:
    error = refused(cron="@daily", start_at=MOMENT, end_at=MOMENT - timedelta(seconds=1))
    assert "is before start_at" in str(error)
    assert Rule(cron="@daily", start_at=MOMENT, end_at=MOMENT).end_at == MOMENT


def test_rules_that_say_the_same_are_equal() -> None:
    there = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert Rule(cron="0  2 * * *", start_at=there) == Rule(cron="0 2 * * *", start_at=MOMENT)
    assert Rule(every="90s") == Rule(every=timedelta(seconds=90))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'"),
        ("europe/berlin", "Did you mean 'Europe/Berlin'?"),
        ("Berlin", "Did you mean 'Europe/Berlin'?"),
        ("new york", "Did you mean 'America/New_York'?"),
        ("Nowhere/Xyzzy", "Use a name of the IANA database"),
        ("Europe", "there is no time zone"),
        ("+02:00", "there is no time zone"),
        ("../etc/passwd", "there is no time zone"),
        ("", "must be a zone's name"),
        ("localtime", "differs between machines"),
        ("right/UTC", "differs between machines"),
        (None, "must be a zone's name"),
        (UTC, "must be a zone's name"),
    ],
)
def test_a_zone_that_is_none_is_refused_with_the_nearest(name: Any, why: str) -> None:
    error = refused(cron="@daily", timezone=name)
    assert why in str(error)
    assert error.option == "timezone"


def test_every_zone_of_the_database_is_known() -> None:
    names = sorted(available_timezones() - {"localtime", "Factory"})
    assert len(names) > 400
    assert [name for name in names if check_timezone(name) != name] == []


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Berlin",
        "Africa/Casablanca",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Pacific/Apia",
        "UTC",
        "Asia/Gaza",
    ],
)
def test_periods_follow_each_other_and_keep_one_distance(name: str) -> None:
    zone = ZoneInfo(name)
    at, until = (MOMENT.replace(tzinfo=None, year=year, month=1, day=1, hour=0) for year in (2000, 2045))
    while at < until:
        period = period_at(zone, at)
        assert period.start == at
        step = timedelta(hours=13)  # never at the same time of day
        while at < period.end:
            assert at.replace(tzinfo=UTC).astimezone(zone).utcoffset() == period.offset
            at += step
        last, first = period.end - timedelta(seconds=1), period.end
        assert last.replace(tzinfo=UTC).astimezone(zone).utcoffset() == period.offset
        assert period_at(zone, first).before == period.offset
        at = period.end
