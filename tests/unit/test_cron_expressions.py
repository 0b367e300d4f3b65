"""Cron expressions: what is read, what is refused and with which words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.errors import InvalidOption
from openqueue.scheduler.expressions import FIELDS, check_cron, read_cron, read_fields


@pytest.mark.parametrize(
    ("written", "fields"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        (" 0  2 *\t* * ", "0 0 2 * * *"),
        ("30 0 2 * * *", "30 0 2 * * *"),
        ("@hourly", "0 0 * * * *"),
        ("@daily", "0 0 0 * * *"),
        ("@Midnight", "0 0 0 * * *"),
        ("@weekly", "0 0 0 * * 0"),
        ("@monthly", "0 0 0 1 * *"),
        ("@yearly", "0 0 0 1 1 *"),
        ("@annually", "0 0 0 1 1 *"),
        ("0 0 * jan-mar mon", "0 0 0 * JAN-MAR MON"),
    ],
)
def test_an_expression_is_six_fields_with_the_seconds_first(written: str, fields: str) -> None:
    assert " ".join(read_fields(check_cron(written), "")) == fields


@pytest.mark.parametrize(
    ("written", "hours"),
    [
        ("0 22-1 * * *", (0, 1, 22, 23)),
        ("0 9-17/4 * * *", (9, 13, 17)),
        ("0 20/2 * * *", (20, 22)),
        ("0 23/2 * * *", (23,)),
        ("0 */8 * * *", (0, 8, 16)),
        ("0 5,1,3-4 * * *", (1, 3, 4, 5)),
        ("0 * * * *", tuple(range(24))),
    ],
)
def test_lists_ranges_and_steps_are_read_as_meant(written: str, hours: tuple[int, ...]) -> None:
    assert read_cron(check_cron(written), "").hours == hours


@pytest.mark.parametrize(
    ("written", "year_month", "days"),
    [
        ("0 0 L * *", (2028, 2), (29,)),
        ("0 0 1,L * *", (2026, 4), (1, 30)),
        ("0 0 13 * FRI", (2026, 3), (6, 13, 20, 27)),  # either: Fridays, and the 13th, which is one
        ("0 0 14 * 5", (2026, 3), (6, 13, 14, 20, 27)),
        ("0 0 */2 * MON", (2026, 3), (9, 23)),  # both, for one begins with a star
        ("0 0 1-7 * */6", (2026, 3), (1, 7)),
        ("0 0 * * MON#2", (2026, 3), (9,)),
        ("0 0 * * MON#2,MON#4", (2026, 3), (9, 23)),
        ("0 0 * * FRI#5", (2026, 3), ()),
        ("0 0 1 * FRI#5", (2026, 5), (1, 29)),
        ("0 0 * * 5L", (2026, 3), (27,)),
        ("0 0 * * L5", (2026, 3), (27,)),
        ("0 0 * * friL", (2026, 3), (27,)),
        ("0 0 * * 0,7", (2026, 3), (1, 8, 15, 22, 29)),
        ("0 0 * * SAT-SUN", (2026, 3), (1, 7, 8, 14, 15, 21, 22, 28, 29)),
        ("0 0 15W * *", (2026, 8), (14,)),  # a Saturday: the Friday before
        ("0 0 16W * *", (2026, 8), (17,)),  # a Sunday: the Monday after
        ("0 0 1W * *", (2026, 8), (3,)),  # a Saturday, but not in another month
        ("0 0 31W * *", (2026, 5), (29,)),  # a Sunday, but not in another month
        ("0 0 ? * MON", (2026, 3), (2, 9, 16, 23, 30)),
    ],
)
def test_days_are_those_of_debians_cron(written: str, year_month: tuple[int, int], days: Any) -> None:
    assert read_cron(check_cron(written), "").days.of(*year_month) == days


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "has 0 fields. Write 5"),
        ("daily", "has 1 field. Write 5"),
        ("* * * *", "has 4 fields. Write 5"),
        ("0 0 0 1 1 * 2026", "years are not supported. Use start_at and end_at"),
        ("@dayly", "no name of an expression. Did you mean '@daily'"),
        ("@sometimes", "There are: @hourly"),
        ("@reboot", "Enqueue when your program starts"),
        ("60 * * * *", "'60' as its minute: that is 0-59"),
        ("0 24 * * *", "'24' as its hour: that is 0-23"),
        ("0 0 0 * *", "'0' as its day of the month: that is 1-31"),
        ("0 0 * 13 *", "'13' as its month: that is 1-12 or JAN-DEC"),
        ("0 0 * FOO *", "'FOO' as its month"),
        ("0 0 * * 8", "'8' as its day of the week: that is 0-7 or SUN-SAT"),
        ("60 0 0 * * *", "'60' as its second"),
        ("-1 * * * *", "'-1' as its minute"),
        ("1, * * * *", "'1,' as its minute"),
        ("1/2/3 * * * *", "as its minute"),
        ("٣ * * * *", "as its minute"),
        ("0 0 1,15W * *", "as its day of the month"),
        ("0 0 L-3 * *", "as its day of the month"),
        ("0 0 * * MON#2,FRI", "as its day of the week"),
        ("0 0 * * MON#6", "as its day of the week"),
        ("*/0 * * * *", "a step is from 1 to 59"),
        ("*/90 * * * *", "use every, such as every='90m'"),
        ("0 */24 * * *", "a step is from 1 to 23"),
        ("0 0 * * */7", "a step is from 1 to 6"),
        ("5-5 * * * *", "write '5' for one minute, '*' for each"),
        ("0 0 * JAN-JAN *", "write 'JAN' for one month"),
        ("0 22-4/2 * * *", "goes backwards. List the values"),
        ("R * * * *", "Use 'H', or a jitter"),
        ("R(0-5)/2 * * * *", "Use 'H', or a jitter"),
        ("H(5-70) * * * *", "the minute is from 0 to 59"),
        ("H(9-3) * * * *", "the minute is from 0 to 59"),
        ("H/60 * * * *", "a step is from 2 to 59"),
        ("0 0 31 2 *", "never fires"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 30 2 */2", "never fires"),
        ("0 0 */10 2 5L", "never fires"),
    ],
)
def test_what_is_none_or_could_mean_two_things_is_refused_with_the_remedy(written: str, why: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        check_cron(written)
    assert why in str(caught.value)
    assert str(caught.value).startswith("cron: ")
    assert caught.value.option == "cron"


@pytest.mark.parametrize("value", [None, 5, b"0 2 * * *", ["0 2 * * *"], True])
def test_an_expression_is_a_text(value: Any) -> None:
    with pytest.raises(InvalidOption, match="must be a text"):
        check_cron(value)


@pytest.mark.parametrize("written", ["0 0 29 2 *", "0 0 29 2 */6", "0 0 30 2 MON", "0 0 * 2 MON#5"])
def test_what_fires_seldom_is_not_taken_for_never(written: str) -> None:
    assert check_cron(written) == written


@given(st.text(max_size=60) | st.text(alphabet="0123456789*/-,LWH#@() ", max_size=40))
def test_any_text_is_read_or_refused_in_our_words(text: str) -> None:
    try:
        found = read_cron(check_cron(text), "a")
    except InvalidOption:
        return
    assert any(found.days.of(2028, month) for month in found.months) or found.months == (2,)


@given(st.text(max_size=20), st.sampled_from(["H H H H H H", "H/7 H(3-9) H(0-7)/2 H(1-9) H/3 H(1-5)"]))
def test_what_a_hash_chooses_is_in_range_and_the_same_each_time(key: str, written: str) -> None:
    fields = read_fields(written, key)
    assert fields == read_fields(written, key)
    pattern = read_cron(check_cron(written), key)
    for values, field in zip(
        (pattern.seconds, pattern.minutes, pattern.hours, pattern.days.dates, pattern.months),
        FIELDS,
        strict=False,
    ):
        assert values
        assert field.lowest <= min(values)
        assert max(values) <= field.highest


def test_a_hash_never_moves() -> None:
    """These are promised: another version of openqueue or of a library must choose the same."""
    assert read_fields("H H H H H H", "nightly-report") == ["17", "53", "9", "19", "11", "2"]
    assert read_fields("H/15 H(1-4) * * *", "nightly-report") == ["0", "8-59/15", "2", "*", "*", "*"]


def test_hashes_spread_keys_over_the_day() -> None:
    found = Counter(tuple(read_fields("H H * * *", f"tenant-{number}")[1:3]) for number in range(1_440))
    assert len(found) > 850  # of 1,440 minutes; evenly thrown balls leave a share of 1/e empty
    assert max(found.values()) < 9


def test_a_hash_moves_no_named_time() -> None:
    assert read_fields("@daily", "one") == read_fields("@daily", "another") == ["0", "0", "0", "*", "*", "*"]


@pytest.mark.parametrize(
    ("written", "fixed"),
    [
        ("30 2 * * *", True),
        ("H H * * *", True),
        ("0-59 0-23 * * *", True),  # Debian looks at the star, not at what it means
        ("15 30 2 * * *", True),
        ("@daily", True),
        ("@hourly", False),
        ("*/5 2 * * *", False),
        ("0 */2 * * *", False),
        ("0 H/4 * * *", False),
        ("H/5 2 * * *", False),
        ("* 30 2 * * *", False),
    ],
)
def test_a_time_is_fixed_unless_second_minute_or_hour_begin_with_a_star(written: str, fixed: bool) -> None:
    assert read_cron(check_cron(written), "k").fixed is fixed
