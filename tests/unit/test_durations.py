"""Durations: read what people write, write what can be read."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.durations import LONGEST, format_duration, parse_age, parse_duration
from openqueue.errors import InvalidOption


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("1h 30m", timedelta(hours=1, minutes=30)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
        (" 10s ", timedelta(seconds=10)),
        ("0s", timedelta(0)),
        ("PT5M", timedelta(minutes=5)),
        ("P1DT2H", timedelta(days=1, hours=2)),
        ("P2W", timedelta(weeks=2)),
        ("PT0.5S", timedelta(milliseconds=500)),
        ("90", timedelta(seconds=90)),
        (90, timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        (timedelta(hours=3), timedelta(hours=3)),
    ],
)
def test_a_duration_is_read_as_meant(written: Any, meant: Any) -> None:
    assert parse_duration(written, field="delay") == meant


@pytest.mark.parametrize(
    "written",
    ["", " ", "5 min", "m5", "1m1h", "5m5m", "P", "PT", "P1Y", "P1M", "-5m", "-1", "nan", "inf", "1e9", "٣s"],
)
def test_what_is_no_duration_is_refused_with_the_field_and_an_example(written: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^delay: .*'30s'") as caught:
        parse_duration(written, field="delay")
    assert caught.value.option == "delay"


@pytest.mark.parametrize(
    "written", [nan, inf, -inf, -1, True, None, [], 1e30, 10**400, "99999999999d", timedelta.max]
)
def test_numbers_and_others_that_are_no_durations_are_refused(written: Any) -> None:
    with pytest.raises(InvalidOption, match="delay"):
        parse_duration(written, field="delay")


def test_zero_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(InvalidOption, match="longer than zero"):
        parse_duration("0s", field="timeout", allow_zero=False)


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_what_is_written_is_read_back_exactly(duration: Any) -> None:
    assert parse_duration(format_duration(duration), field="x") == duration


@given(st.text())
def test_any_text_is_a_duration_or_an_invalid_option(text: Any) -> None:
    with suppress(InvalidOption):
        assert timedelta(0) <= parse_duration(text, field="x") <= LONGEST


@pytest.mark.parametrize(
    ("duration", "written"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=2), "2d"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(milliseconds=1500), "1.5s"),
        (timedelta(microseconds=1), "0.001ms"),
        (-timedelta(seconds=5), "-5s"),
    ],
)
def test_a_duration_is_written_as_people_would(duration: Any, written: Any) -> None:
    assert format_duration(duration) == written


@pytest.mark.parametrize("text", ["0s", "soon", "-1d", "90"])
def test_an_age_that_is_refused_is_not_told_to_be_a_bare_number(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_age(text, field="--older-than")
    assert "number of seconds" not in str(caught.value)
    assert caught.value.option == "--older-than"
