"""Rules in words: as one would say them, and never wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from openqueue.scheduler.expressions import read_cron
from openqueue.scheduler.rules import Rule
from openqueue.scheduler.words import in_words
from tests.support.crontabs import expressions


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 2 * * *", "at 02:00 every day"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/1 * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("@hourly", "every hour, on the hour"),
        ("15 * * * *", "every hour at minute 15"),
        ("0 */2 * * *", "every 2 hours from 00:00"),
        ("15 9-17 * * MON-FRI", "every hour from 09:15 to 17:15 on Monday to Friday"),
        ("*/5 9-17 * * 1-5", "every 5 minutes from 09:00 to 17:59 on Monday to Friday"),
        ("0 9,17 * 1 1-5", "at 09:00 and 17:00 on Monday to Friday in January"),
        ("30 0 2 * * *", "at 02:00:30 every day"),
        ("0 0 * * SAT-SUN", "at 00:00 on Saturday and Sunday"),
        ("0 0 13 * 5", "at 00:00 on day 13 of the month or on Friday"),
        ("0 0 1-7 * */6", "at 00:00 on days 1 to 7 of the month, but only on Saturday and Sunday"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 15W * *", "at 00:00 on the working day nearest to day 15 of the month"),
        ("0 3 * * 1#2", "at 03:00 on the 2nd Monday of the month"),
        ("0 0 * * 5L", "at 00:00 on the last Friday of the month"),
        ("0 0 1 11-2 *", "at 00:00 on day 1 of the month in November to February"),
        ("@yearly", "at 00:00 on day 1 of the month in January"),
        ("*/20 0 * * *", "at 00:00, 00:20 and 00:40 every day"),
    ],
)
def test_an_expression_is_said_as_one_would(cron: str, words: str) -> None:
    assert in_words(Rule(cron=cron)) == words


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("*/25 * * * *", "at minutes 0, 25 and 50 of every hour"),  # not every 25 minutes
        ("0 22-4 * * *", "at minute 0 of hours 0 to 4, 22 and 23"),
        ("5/15 * * * *", "at minutes 5, 20, 35 and 50 of every hour"),
        ("7,9 * * * * *", "at seconds 7 and 9 of every minute"),
        ("*/10 0-4 3 * * *", "every 10 seconds of minutes 0 to 4 of hour 3"),
        ("5 5 * * * *", "at second 5 of minute 5 of every hour"),
        ("* 9 * * *", "every minute of hour 9"),
    ],
)
def test_what_is_odd_is_described_field_by_field(cron: str, words: str) -> None:
    assert in_words(Rule(cron=cron)) == words


def test_a_hash_is_said_as_the_time_it_chose() -> None:
    rule = Rule(cron="H H * * *")
    pattern = read_cron("H H * * *", "nightly")
    assert in_words(rule, "nightly") == f"at {pattern.hours[0]:02}:{pattern.minutes[0]:02} every day"


@pytest.mark.parametrize(
    ("every", "words"),
    [
        ("1s", "every second"),
        ("90s", "every 90 seconds"),
        ("1.5s", "every 1.5 seconds"),
        ("1m", "every minute"),
        ("5m", "every 5 minutes"),
        ("90m", "every 90 minutes"),
        ("1h", "every hour"),
        ("36h", "every 36 hours"),
        ("1d", "every 24 hours"),
        ("7d", "every 7 days of 24 hours"),
    ],
)
def test_an_interval_is_said_in_its_unit(every: Any, words: str) -> None:
    assert in_words(Rule(every=every)) == words


SAID: dict[str, tuple[str, object]] = {}


@given(expressions(seconds=True) | expressions(seconds=False))
def test_the_same_words_are_never_said_of_different_times(cron: str) -> None:
    """Over all that are drawn: if two expressions are said alike, they match alike."""
    pattern = read_cron(cron, "")
    months = [pattern.days.of(year, month) for year in (2026, 2028) for month in pattern.months]
    meaning = (pattern.seconds, pattern.minutes, pattern.hours, pattern.months, months)
    first, meant = SAID.setdefault(in_words(Rule(cron=cron)), (cron, meaning))
    assert meant == meaning, first
