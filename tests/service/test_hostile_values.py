"""Whatever is given as argument, option, cron text or setting: it is stored, or refused naming the field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import openqueue
from openqueue import SyncClient
from openqueue.errors import (
    ConfigError,
    InvalidArguments,
    InvalidOption,
    NotSerializable,
    OpenQueueError,
    TooLarge,
)
from openqueue.settings import Settings, load_settings
from tests.support.databases import Databases
from tests.support.hostile import FEW, NAMES, VALUES, names_field

OPTIONS = (
    *(
        "delay",
        "run_at",
        "priority",
        "queue",
        "key",
        "key_mode",
        "unique",
        "idempotency",
        "idempotency_ttl",
        "group",
    ),
    *("concurrency_key", "meta", "tags", "deadline", "max_attempts", "id"),
)
SCHEDULE = (
    "cron",
    "every",
    "timezone",
    "start_at",
    "end_at",
    "max_runs",
    "catch_up",
    "overlap",
    "jitter",
    "tags",
    "meta",
)
VARIABLES = ("schema", "namespace", "queues", "lease", "health", "max_input", "controls", "pooler")
COUNT = b"SELECT (SELECT count(*) FROM openqueue.run_requests) + (SELECT count(*) FROM openqueue.schedules)"


class Place:
    """A client and a look at the same database."""

    def __init__(self, client: SyncClient, server: psycopg.Connection[Any]) -> None:
        self.client = client
        self.server = server

    def count(self) -> int:
        row = self.server.execute(COUNT).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="module")
def place(databases: Databases) -> Iterator[Place]:
    dsn = databases.create()
    with openqueue.connect_sync(dsn) as client, psycopg.connect(dsn, autocommit=True) as server:
        yield Place(client, server)
    databases.drop(dsn)


def refusal(act: Callable[[], Any], *kinds: type[OpenQueueError]) -> OpenQueueError | None:
    """The error by which it was refused, of these kinds; any other is a fault of ours."""
    try:
        act()
    except kinds as error:
        return error
    return None


@FEW
@given(value=VALUES)
def test_an_argument(place: Place, value: Any) -> None:
    before = place.count()
    error = refusal(
        lambda: place.client.enqueue("any.task", {"value": value}, allow_unknown=True),
        *(NotSerializable, InvalidArguments, TooLarge),
    )
    if error:
        names_field(error, "value", "input")
    assert place.count() == before + (error is None)


@settings(FEW, max_examples=120)
@given(option=st.sampled_from(OPTIONS), value=VALUES)
def test_an_option(place: Place, option: str, value: Any) -> None:
    before = place.count()
    error = refusal(
        lambda: place.client.enqueue("any.task", {}, allow_unknown=True, **{option: value}), InvalidOption
    )
    if error:
        names_field(error, option)
        assert place.count() == before


@FEW
@given(name=NAMES | st.text(st.characters(), max_size=10) | st.sampled_from(["x" * 201, "a\0b", "\ud800"]))
def test_a_task_by_name(place: Place, name: str) -> None:
    before = place.count()
    error = refusal(lambda: place.client.enqueue(name, {}, allow_unknown=True), InvalidOption)
    if error:
        names_field(error, "task")
    assert place.count() == before + (error is None)


@settings(FEW, max_examples=80)
@given(option=st.sampled_from(SCHEDULE), value=VALUES)
def test_what_a_schedule_says(place: Place, option: str, value: Any) -> None:
    before = place.count()
    words = {"every": "1h", option: value} if option != "cron" else {"cron": value}
    error = refusal(
        lambda: place.client.schedules.add("key", "any.task", allow_unknown=True, **words), InvalidOption
    )
    if error:
        names_field(error, option, "cron", "every")
    else:
        place.client.schedules.remove("key")
    assert place.count() == before


@settings(FEW, max_examples=150)
@given(setting=st.sampled_from(sorted(Settings.model_fields)), value=VALUES)
def test_a_setting(setting: str, value: Any) -> None:
    if error := refusal(lambda: load_settings(**{setting: value}), ConfigError, InvalidOption):
        names_field(error, setting)


@settings(FEW, max_examples=80)
@given(
    setting=st.sampled_from(VARIABLES),
    value=NAMES | st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
def test_a_variable(setting: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try:
            patch.setenv(f"OPENQUEUE_{setting.upper()}", value)
        except ValueError:  # NUL
            return
        if error := refusal(load_settings, ConfigError):
            names_field(error, setting)


@FEW
@given(kind=st.sampled_from(["queue", "task", "key"]), value=VALUES)
def test_a_limit(place: Place, kind: str, value: Any) -> None:
    limit: Any = place.client.controls.limit
    for words, at_fault in (
        ({kind: value, "concurrency": 1}, (kind, "queue")),
        ({kind: "name", "concurrency": value}, ("concurrency",)),
        ({kind: "name", "rate": value}, ("rate",)),
    ):
        if error := refusal(partial(limit, **words), InvalidOption):
            names_field(error, *at_fault)


SQL_WRONG = [
    ("priority", "1e9::float8::integer"),
    ("priority", "40000"),
    ("max_attempts", "0"),
    ("max_attempts", "-1"),
    ("job_key", "''"),
    ("job_key_mode", "'sometimes'"),
    ("tags", "ARRAY['', NULL]"),
    ("tags", "ARRAY[repeat('x', 201)]"),
    ("meta", "'[]'"),
    ("payload", "'[1]'"),
    ("payload", "jsonb_build_object('a', repeat('x', 1100000))"),
    ("queue_name", "'*'"),
    ("queue_name", "repeat('q', 201)"),
    ("run_at", "'infinity'"),
    ("concurrency_key", "repeat('k', 600)"),
    ("idempotency_key", "''"),
    ("namespace", "''"),
]


@pytest.mark.parametrize(("field", "value"), SQL_WRONG)
def test_what_sql_gives_is_refused_naming_the_field(place: Place, field: str, value: str) -> None:
    before = place.count()
    with pytest.raises(psycopg.Error) as refused:
        place.server.execute(f"SELECT openqueue.add_job('t', {field} => {value})".encode())
    assert refused.value.sqlstate in ("22023", "22003"), refused.value
    if refused.value.sqlstate == "22023":
        assert field.removesuffix("_name") in str(refused.value)
    assert place.count() == before


@FEW
@given(value=VALUES | st.lists(VALUES, max_size=2))
def test_elements_of_add_jobs(place: Place, value: Any) -> None:
    try:
        text = json.dumps({"task": value})
        text.encode()
    except (TypeError, ValueError, RecursionError):
        return
    before = place.count()
    state = ""
    try:
        place.server.execute("SELECT * FROM openqueue.add_jobs(ARRAY[%s::text::jsonb])", [text])
    except psycopg.Error as error:
        state = error.sqlstate or "?"
    assert state[:2] in {"", "22", "54"}
    assert place.count() == before + (not state)
