"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.backoff import Fixed
from openqueue.errors import InvalidArguments, NotSerializable
from openqueue.tasks.control import Cancelled, GiveUp, Snooze
from openqueue.tasks.options import TaskOptions
from openqueue.tasks.retry import may_retry, retry_delay

TEN = timedelta(seconds=10)


def options(**given_options: Any) -> TaskOptions:
    return TaskOptions.of(backoff=Fixed("10s"), **given_options)


@given(st.integers(1, 32767), st.integers(1, 32767))
def test_there_is_another_attempt_exactly_while_attempts_are_left(attempt: Any, most: Any) -> None:
    delay = retry_delay(options(max_attempts=most), attempt, OSError())
    assert delay == (TEN if attempt < most else None)


def test_the_run_s_own_max_attempts_wins_over_the_task_s() -> None:
    assert retry_delay(options(max_attempts=1), 1, OSError(), max_attempts=2) == TEN
    assert retry_delay(options(max_attempts=5), 2, OSError(), max_attempts=2) is None


def test_give_up_is_never_retried_not_even_when_listed() -> None:
    assert retry_delay(options(retry_on=GiveUp), 1, GiveUp("enough")) is None
    assert retry_delay(options(retry_on=Exception), 1, Cancelled()) is None


def test_without_lists_every_exception_is_retried() -> None:
    for error in (ValueError(), TimeoutError(), NotSerializable("x"), SystemExit(1)):
        assert may_retry(options(), error)


def test_retry_on_limits_retries_to_what_it_lists_and_its_subclasses() -> None:
    only = options(retry_on=(OSError, KeyError))
    assert may_retry(only, ConnectionResetError())
    assert may_retry(only, KeyError())
    assert not may_retry(only, ValueError())


def test_give_up_on_wins_over_retry_on() -> None:
    both = options(retry_on=OSError, give_up_on=FileNotFoundError)
    assert may_retry(both, OSError())
    assert not may_retry(both, FileNotFoundError())


def test_a_stored_input_that_does_not_fit_is_never_retried() -> None:
    assert not may_retry(options(), InvalidArguments("x", stored=True))


def test_invalid_arguments_from_inside_the_task_are_retried_like_any_error() -> None:
    assert may_retry(options(), InvalidArguments("x"))


@pytest.mark.parametrize("broken", [lambda attempt, error: 1 / 0, lambda attempt, error: "soon"])
def test_a_backoff_function_that_fails_is_noted_and_the_default_takes_its_place(broken: Any) -> None:
    error = OSError("gone")
    delay = retry_delay(TaskOptions.of(backoff=broken), 1, error, random=lambda: 0.5)
    assert delay == pytest.approx(timedelta(seconds=2.718282), abs=timedelta(milliseconds=1))
    assert "the task's backoff failed" in error.__notes__[0]


def test_a_snooze_has_a_delay() -> None:
    assert Snooze("5m").delay == timedelta(minutes=5)
    with pytest.raises(ValueError, match=r"^delay: 'soon' is not a duration"):
        Snooze("soon")
