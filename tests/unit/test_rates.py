"""Rates: how they are written, and what is said of those that are none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.errors import InvalidOption
from openqueue.rates import MOST, Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "count", "seconds", "shown"),
    [
        ("100/1m", 100, 60, "100/m"),
        ("100/m", 100, 60, "100/m"),
        ("5/s", 5, 1, "5/s"),
        ("1000/1h", 1000, 3600, "1000/h"),
        (" 30 / 1m30s ", 30, 90, "30/1m30s"),
        ("1/250ms", 1, 0.25, "1/250ms"),
        ("3/90", 3, 90, "3/1m30s"),
        ("2/PT5M", 2, 300, "2/5m"),
    ],
)
def test_a_rate_is_how_many_and_the_period(text: str, count: int, seconds: float, shown: str) -> None:
    rate = parse_rate(text, field="rate")
    assert rate == Rate(count, timedelta(seconds=seconds)) == Rate.of(text)
    assert str(rate) == shown
    assert parse_rate(rate, field="rate") == rate


@given(st.integers(1, MOST), st.timedeltas(timedelta(milliseconds=1), timedelta(days=3650)))
def test_what_is_shown_is_read_as_the_same(count: int, period: timedelta) -> None:
    rate = Rate(count, period)
    assert Rate.of(str(rate)) == rate


@pytest.mark.parametrize(
    "value",
    [
        "",
        "5",
        "5/",
        "/s",
        "0/s",
        "-1/s",
        "0.5/s",
        "5/0s",
        "5/soon",
        "5/-1s",
        f"{MOST + 1}/s",
        5,
        None,
        True,
        Rate(0, timedelta(1)),
        Rate(True, timedelta(1)),
        Rate(1, timedelta(0)),
    ],
)
def test_what_is_no_rate_is_refused_with_the_field_and_how_to_write_it(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^limit: .*'100/1m'") as caught:
        parse_rate(value, field="limit")
    assert caught.value.option == "limit"
