"""Backoff: the wait after a failed attempt."""

from __future__ import annotations

from datetime import timedelta
from math import exp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.backoff import Custom, Exponential, Fixed
from openqueue.durations import LONGEST
from openqueue.errors import InvalidOption


def middle() -> float:
    return 0.5


attempts = st.integers(1, 32767)
chances = st.floats(0, 1, exclude_max=True)


@given(attempts)
def test_the_default_is_exp_of_the_attempt_up_to_ten(attempt: Any) -> None:
    assert Exponential().delay(attempt, None, middle).total_seconds() == pytest.approx(
        exp(min(attempt, 10)), rel=1e-6
    )


@given(attempts, chances)
def test_the_default_varies_by_a_quarter(attempt: Any, chance: Any) -> None:
    expected = exp(min(attempt, 10))
    seconds = Exponential().delay(attempt, None, lambda: chance).total_seconds()
    assert expected * 0.7499 <= seconds <= expected * 1.2501


def test_an_exponential_grows_by_its_factor_up_to_its_cap() -> None:
    backoff = Exponential(base="1s", factor=2, cap="10s", jitter=0)
    assert [backoff.delay(n).total_seconds() for n in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 10, 10]


@given(attempts, chances, st.floats(1, 1e300), st.floats(0, 1))
def test_no_exponential_overflows(attempt: Any, chance: Any, factor: Any, jitter: Any) -> None:
    delay = Exponential(base="100d", factor=factor, cap=LONGEST, jitter=jitter).delay(
        attempt, None, lambda: chance
    )
    assert timedelta(0) <= delay <= LONGEST


def test_a_fixed_one_is_always_the_same() -> None:
    assert Fixed("30s").delay(1) == Fixed("30s").delay(20) == timedelta(seconds=30)


def test_a_custom_one_sees_attempt_and_error() -> None:
    error = OSError()
    seen: list[Any] = []

    def rule(*seen_now: Any) -> str:
        seen.append(seen_now)
        return "5s"

    backoff = Custom(rule)
    assert backoff.delay(3, error) == timedelta(seconds=5)
    assert seen == [(3, error)]


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Fixed("soon"), "backoff.delay"),
        (lambda: Fixed("1s", jitter=2), "backoff.jitter"),
        (lambda: Exponential(base="-1s"), "backoff.base"),
        (lambda: Exponential(factor=0.5), "backoff.factor"),
        (lambda: Exponential(factor=float("inf")), "backoff.factor"),
        (lambda: Exponential(cap=float("nan")), "backoff.cap"),
        (lambda: Exponential(jitter=True), "backoff.jitter"),
        (lambda: Custom(lambda attempt, error: "soon").delay(1), "backoff"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make: Any, option: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        make()
    assert caught.value.option == option


def test_each_describes_itself_for_the_catalogue() -> None:
    assert Fixed("30s").describe() == {"kind": "fixed", "delay": 30.0, "jitter": 0.0}
    assert Exponential(base=1, factor=2, cap=60).describe() == {
        "kind": "exponential",
        "base": 1.0,
        "factor": 2.0,
        "cap": 60.0,
        "jitter": 0.25,
    }
    assert Custom(lambda attempt, error: 1).describe()["kind"] == "custom"
