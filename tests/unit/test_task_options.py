"""Options: checked where they are written, named where they are wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.backoff import Custom, Exponential, Fixed
from openqueue.errors import InvalidOption
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.options import NO_OPTIONS, EnqueueOptions, TaskOptions
from openqueue.tasks.scheduled import Scheduled


def test_a_task_without_options_has_the_documented_defaults() -> None:
    options = TaskOptions.of()
    assert (options.queue, options.priority, options.max_attempts) == ("default", 0, 25)
    assert options.backoff == Exponential()
    assert (options.timeout, options.deadline, options.tags, dict(options.meta)) == (None, None, (), {})


def test_task_options_are_read_into_one_form() -> None:
    options = TaskOptions.of(
        queue="mail",
        timeout="30s",
        deadline=timedelta(hours=1),
        tags=["a", "b", "a"],
        backoff="10s",
        retry_on=OSError,
        give_up_on=[ValueError, KeyError],
        aliases={"old"},
    )
    assert options.timeout == timedelta(seconds=30)
    assert options.deadline == timedelta(hours=1)
    assert options.tags == ("a", "b")
    assert options.backoff == Fixed("10s")
    assert options.retry_on == (OSError,)
    assert options.give_up_on == (ValueError, KeyError)
    assert options.aliases == ("old",)


def test_a_function_is_a_backoff() -> None:
    assert isinstance(TaskOptions.of(backoff=lambda attempt, error: 1).backoff, Custom)


TEXTS = ["", "  ", 7, "a\0b", "a\nb", "x" * 201, "\x7f", "\ud800"]

WRONG_FOR_TASKS = [
    *(("name", value) for value in TEXTS),
    *(("queue", value) for value in TEXTS),
    ("priority", 32768),
    ("priority", -32769),
    ("priority", 1.5),
    ("priority", True),
    ("priority", "high"),
    ("max_attempts", 0),
    ("max_attempts", 32768),
    ("max_attempts", True),
    ("backoff", "soon"),
    ("backoff", -1),
    ("backoff", Exponential),
    ("backoff", []),
    ("timeout", 0),
    ("timeout", "-1s"),
    ("timeout", "soon"),
    ("deadline", "0s"),
    ("tags", "vip"),
    ("tags", [1]),
    ("tags", [""]),
    ("tags", 7),
    ("meta", ["a"]),
    ("meta", {1: 2}),
    ("meta", {"a": float("nan")}),
    ("meta", {"a": "\0"}),
    ("retry_on", "OSError"),
    ("retry_on", [OSError()]),
    ("give_up_on", int),
    ("aliases", "old"),
    *(("concurrency_key", value) for value in TEXTS),
    ("concurrency_key", str),
    ("key_concurrency", 0),
    ("key_concurrency", 32768),
    ("on_failure", "wait"),
    ("description", 7),
]


@pytest.mark.parametrize(("option", "value"), WRONG_FOR_TASKS)
def test_a_wrong_option_of_a_task_is_refused_by_name(option: Any, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{option}") as caught:
        TaskOptions.of(**{option: value})
    assert caught.value.option.startswith(option)


WRONG_FOR_ENQUEUES = [
    *(("queue", value) for value in TEXTS),
    *(("key", value) for value in TEXTS),
    ("delay", "-5m"),
    ("delay", float("nan")),
    ("delay", "tomorrow"),
    ("run_at", datetime(2026, 1, 1)),  # noqa: DTZ001
    ("run_at", "2026-01-01T00:00:00"),
    ("run_at", "tomorrow"),
    ("run_at", 1767225600),
    ("priority", 40000),
    ("meta", "tenant=42"),
    ("tags", "vip"),
    ("deadline", "0s"),
    ("deadline", datetime(2026, 1, 1)),  # noqa: DTZ001
    ("max_attempts", 0),
    *((option, value) for option in ("group", "concurrency_key", "idempotency") for value in TEXTS),
    ("idempotency_ttl", "0s"),
    ("unique", True),
    ("unique", "queue"),
    ("id", "seven"),
    ("id", 7),
]


@pytest.mark.parametrize(("option", "value"), WRONG_FOR_ENQUEUES)
def test_a_wrong_option_of_an_enqueue_is_refused_by_name(option: Any, value: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{option}") as caught:
        EnqueueOptions.of(**{option: value})
    assert caught.value.option.startswith(option)


def test_enqueue_options_are_read_into_one_form() -> None:
    options = EnqueueOptions.of(
        delay="5m",
        key="welcome:42",
        meta={"tenant": 42},
        tags=["vip"],
        id="00000000-0000-0000-0000-000000000001",
    )
    assert options.delay == timedelta(minutes=5)
    assert options.tags == ("vip",)
    assert options.id == UUID(int=1)
    assert options.priority is None


def test_a_moment_may_be_text_with_an_offset_and_a_deadline_a_moment() -> None:
    options = EnqueueOptions.of(run_at="2026-01-01T00:00:00+00:00", deadline=datetime(2027, 1, 1, tzinfo=UTC))
    assert options.run_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert options.deadline == datetime(2027, 1, 1, tzinfo=UTC)


def test_no_options_are_always_the_same_object() -> None:
    assert EnqueueOptions.of() is NO_OPTIONS


def test_none_is_as_if_left_out() -> None:
    assert EnqueueOptions.of(delay=None, run_at=None, key=None) == NO_OPTIONS
    assert TaskOptions.of(timeout=None, name=None) == TaskOptions.of()


def test_delay_and_run_at_together_are_refused() -> None:
    with pytest.raises(InvalidOption, match="cannot be combined with run_at"):
        EnqueueOptions.of(delay="5m", run_at=datetime.now(UTC))


def test_a_key_mode_without_a_key_is_refused() -> None:
    with pytest.raises(InvalidOption, match="nothing without a key"):
        EnqueueOptions.of(key_mode="skip")


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("unique", {"unique": "args", "key": "k"}),
        ("key_mode", {"unique": "args", "key_mode": "merge"}),
        ("idempotency_ttl", {"idempotency_ttl": "1h"}),
    ],
)
def test_options_of_keys_that_contradict_each_other_are_refused(option: str, given: Any) -> None:
    with pytest.raises(InvalidOption, match=f"^{option}: ") as caught:
        EnqueueOptions.of(**given)
    assert caught.value.option == option


@pytest.mark.parametrize("mode", ["debounce", "REPLACE", 1])
def test_a_key_mode_that_does_not_exist_is_refused_naming_those_that_do(mode: Any) -> None:
    with pytest.raises(InvalidOption, match="must be 'replace' or 'keep_time' or 'skip' or 'merge'"):
        EnqueueOptions.of(key="k", key_mode=mode)


def test_an_unknown_option_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(InvalidOption, match=r"^quee: @task has no such option\. Did you mean 'queue'\?"):
        TaskOptions.of(quee="mail")
    with pytest.raises(InvalidOption, match=r"^dleay: an enqueue has no such .* mean 'delay'\?"):
        EnqueueOptions.of(dleay="5m")


def test_an_unknown_option_like_no_other_is_refused_with_all_of_them() -> None:
    with pytest.raises(InvalidOption, match="There are: aliases, backoff") as refused:
        TaskOptions.of(zzz=1)
    assert {"cron", "every", "timezone"} < set(re.findall(r"\w+", str(refused.value)))


@pytest.mark.parametrize(
    ("kind", "habit", "ours"),
    [
        (EnqueueOptions, "countdown", "delay"),
        (EnqueueOptions, "eta", "run_at"),
        (EnqueueOptions, "expires", "deadline"),
        (EnqueueOptions, "queueing_lock", "key"),
        (TaskOptions, "max_retries", "max_attempts"),
        (TaskOptions, "autoretry_for", "retry_on"),
        (TaskOptions, "time_limit", "timeout"),
        (TaskOptions, "rate_limit", "rate"),
        (TaskOptions, "tz", "timezone"),
    ],
)
def test_what_is_called_otherwise_elsewhere_is_refused_with_what_it_is_called_here(
    kind: type[TaskOptions | EnqueueOptions], habit: str, ours: str
) -> None:
    with pytest.raises(InvalidOption, match=rf" has no such option\. Here it is '{ours}'\.$"):
        kind.of(**{habit: 1})


def test_a_task_that_wants_itself_is_told_of_the_context() -> None:
    with pytest.raises(InvalidOption, match=r"bind: @task has no such option\. .*`ctx: Context`"):
        TaskOptions.of(bind=True)


def test_arguments_of_a_task_by_name_are_not_options() -> None:
    with pytest.raises(
        InvalidOption, match=r"^customer: .* Arguments go in a dict: \{'customer': \.\.\.\}\.$"
    ):
        Item.named("orders.thank", customer="Ada")


@given(st.integers())
def test_a_priority_is_a_smallint(number: Any) -> None:
    try:
        assert TaskOptions.of(priority=number).priority == number
        assert -32768 <= number <= 32767
    except InvalidOption:
        assert not -32768 <= number <= 32767


@given(st.text(st.characters()))
def test_a_key_is_taken_as_it_is_or_refused(text: Any) -> None:
    try:
        assert EnqueueOptions.of(key=text).key == text
        assert text.strip()
        assert len(text) <= 200
        assert "\0" not in text
        text.encode()
    except InvalidOption as error:
        assert error.option == "key"  # noqa: PT017


def test_task_options_describe_themselves_for_the_catalogue() -> None:
    described = TaskOptions.of(timeout="30s", retry_on=OSError, tags=["a"], meta={"b": 1}).describe()
    assert described["timeout"] == 30.0
    assert described["retry_on"] == ["OSError"]
    assert described["backoff"]["kind"] == "exponential"
    assert described["tags"] == ["a"]
    assert described["meta"] == {"b": 1}


def test_a_schedule_is_read_from_its_words() -> None:
    options = TaskOptions.of(every="5m", overlap="skip", catch_up=2, jitter="30s", input={"a": 1}, queue="q")
    assert options.queue == "q"
    assert options.scheduled == Scheduled(
        every=timedelta(minutes=5),
        overlap="skip",
        catch_up=2,
        jitter=timedelta(seconds=30),
        input={"a": 1},
    )
    assert TaskOptions.of(queue="q").scheduled is None
    assert TaskOptions.of(cron="@daily", timezone=None).scheduled == Scheduled(cron="@daily")


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ({"cron": "@daily", "every": "5m"}, "every"),
        ({"timezone": "Europe/Berlin"}, "timezone"),
        ({"input": {"a": 1}}, "input"),
        ({"cron": ""}, "cron"),
        ({"cron": 5}, "cron"),
        ({"every": 0}, "every"),
        ({"every": "5m", "overlap": "never"}, "overlap"),
        ({"every": "5m", "catch_up": -1}, "catch_up"),
        ({"every": "5m", "jitter": "-1s"}, "jitter"),
        ({"every": "5m", "input": [1]}, "input"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_named(words: Any, option: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{option}: ") as caught:
        TaskOptions.of(**words)
    assert caught.value.option == option


def test_options_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        TaskOptions.of().queue = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "keeps"),
    [
        ({}, True),
        ({"key_concurrency": 2}, False),
        ({"key_concurrency": 2, "on_failure": "block"}, True),
        ({"on_failure": "step_aside"}, False),
    ],
)
def test_a_failed_run_blocks_its_key_where_one_runs_at_once_unless_said_otherwise(
    given: Any, keeps: bool
) -> None:
    options = TaskOptions.of(concurrency_key="printer", **given)
    assert options.keeps_slot is keeps
    assert options.describe()["on_failure"] == ("block" if keeps else "step_aside")


def test_the_catalogue_has_a_key_that_is_the_same_for_all_runs_and_of_a_function_what_it_asks_for() -> None:
    assert TaskOptions.of(concurrency_key="printer").describe()["concurrency_key"] == "printer"
    assert TaskOptions.of().describe()["concurrency_key"] is None
    described = TaskOptions.of(concurrency_key=lambda to, subject: f"{to}{subject}").describe()
    assert described["concurrency_key"] == {"of": ["subject", "to"]}
    assert TaskOptions.of(concurrency_key=lambda **_every: "a").describe()["concurrency_key"] == {"of": ["*"]}


def test_limits_of_a_task_are_checked_and_described() -> None:
    found = TaskOptions.of(concurrency=5, rate="100/1m", burst=20)
    assert (found.concurrency, str(found.rate), found.burst) == (5, "100/m", 20)
    said = found.describe()
    assert (said["concurrency"], said["rate"], said["burst"]) == (5, "100/m", 20)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"rate": 5}, "rate"),
        ({"rate": "5"}, "rate"),
        ({"burst": 5}, "burst"),
        ({"rate": "5/s", "burst": 0}, "burst"),
    ],
)
def test_a_limit_that_is_none_is_refused_and_named(given: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidOption, match=rf"^{option}: ") as caught:
        TaskOptions.of(**given)
    assert caught.value.option == option
