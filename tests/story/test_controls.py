"""`client.controls`, with and without await: what is said holds, and is read as it was said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psycopg
import pytest

import openqueue
from openqueue import Client, Control, InvalidOption, Rate, task
from tests.support.worker_here import working


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with openqueue.connect(dsn) as opened:
        yield opened


@task(name="control.quick")
async def quick(number: int = 0) -> int:
    return number


@task(name="control.limited", concurrency=2, rate="100/m", burst=10)
async def limited() -> None: ...


async def one(client: Client) -> Control:
    (found,) = await client.controls.list()
    return found


async def test_a_limit_is_read_as_it_was_said_and_taken_back_with_none(client: Client) -> None:
    await client.controls.limit(queue="mail", concurrency=5, rate="100/1m", burst=20)
    found = await one(client)
    assert found == Control(
        kind="queue",
        name="mail",
        concurrency=5,
        concurrency_from="run time",
        used=0,
        rate=Rate(100, timedelta(minutes=1)),
        burst=20,
        rate_from="run time",
    )
    await client.controls.limit(queue="mail", rate=None)
    assert ((await one(client)).concurrency, (await one(client)).rate) == (5, None)
    await client.controls.limit(queue="mail", concurrency=None)
    assert await client.controls.list() == []


async def test_fairness_and_weights_are_said_together(client: Client) -> None:
    await client.controls.fairness("mail", "weighted", weights={"gold": 3, "lead": 0.5}, ageing="5m")
    gold, lead, mail = await client.controls.list()
    assert (mail.fairness, mail.ageing) == ("weighted", timedelta(minutes=5))
    assert [(group.name, group.queue, group.weight) for group in (gold, lead)] == [
        ("gold", "mail", 3.0),
        ("lead", "mail", 0.5),
    ]
    await client.controls.fairness("mail", weights={"gold": None, "lead": None})
    await client.controls.fairness("mail", ageing=None)
    assert (await one(client)).fairness == "weighted"


async def test_a_pause_has_an_end_by_the_databases_clock_or_none(
    client: Client, db: asyncpg.Connection
) -> None:
    await client.controls.pause(group=("mail", "customer 42"), until="1h", reason="unpaid")
    found = await one(client)
    assert found.paused_until is not None
    left = found.paused_until - await db.fetchval("SELECT now()")
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert (found.paused, found.reason, found.queue) == (True, "unpaid", "mail")
    await client.controls.pause(group=("mail", "customer 42"))
    found = await one(client)
    assert (found.paused, found.paused_until, found.reason) == (True, None, None)
    moment = datetime.now(UTC) + timedelta(days=1)
    await client.controls.pause(group=("mail", "customer 42"), until=moment)
    assert (await one(client)).paused_until == moment
    await client.controls.resume(group=("mail", "customer 42"))
    assert await client.controls.list() == []


@pytest.mark.parametrize("what", [{"queue": "default"}, {"task": "control.quick"}, {"everything": True}])
async def test_what_is_paused_waits_and_runs_when_it_is_resumed(
    client: Client, dsn: str, what: dict[str, Any]
) -> None:
    await client.controls.pause(**what)
    async with working(dsn, quick):
        run = await quick.enqueue(7)
        with pytest.raises(TimeoutError):
            await run.result(timeout="300ms")
        await client.controls.resume(**what)
        assert await run.result(timeout="60s") == 7


async def test_what_is_said_on_the_callers_connection_holds_with_its_commit(client: Client, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await client.controls.limit(queue="mail", concurrency=5, connection=connection)
    assert await client.controls.list() == []
    await transaction.rollback()
    assert await client.controls.list() == []
    async with connection.transaction():
        await client.controls.pause(queue="mail", connection=connection)
    assert (await one(client)).paused
    await connection.close()


def test_the_same_without_await(dsn: str) -> None:
    with openqueue.connect_sync(dsn) as oq:
        oq.controls.limit(task="a", concurrency=1)
        oq.controls.pause(task="a", until="1h")
        oq.controls.resume(task="a")
        oq.controls.fairness("mail", "round_robin")
        with psycopg.connect(dsn) as connection:
            oq.controls.limit(task="a", concurrency=2, connection=connection)
            connection.rollback()
        assert [(one.name, one.concurrency, one.fairness) for one in oq.controls.list()] == [
            ("mail", None, "round_robin"),
            ("a", 1, None),
        ]


async def test_what_a_task_declares_holds_when_its_worker_starts_and_is_taken_back(
    client: Client, dsn: str
) -> None:
    controls = {"mail": {"concurrency": 3, "fairness": "weighted", "weights": {"gold": 2}}}
    async with working(dsn, limited, controls=controls):
        found = {(one.kind, one.name): one for one in await client.controls.list()}
    task_, queue = found["task", "control.limited"], found["queue", "mail"]
    assert (task_.concurrency, task_.concurrency_from, str(task_.rate), task_.burst) == (
        2,
        "code",
        "100/m",
        10,
    )
    assert (queue.concurrency, queue.concurrency_from, queue.fairness) == (3, "settings", "weighted")
    assert (found["group", "gold"].weight, found["group", "gold"].weight_from) == (2.0, "settings")
    await client.controls.limit(task="control.limited", concurrency=9)
    plain = task(name="control.limited")(quick.function)
    async with working(dsn, plain, controls={"mail": {}}):
        (left,) = await client.controls.list()
    assert (left.concurrency, left.concurrency_from, left.rate) == (9, "run time", None)


@pytest.mark.parametrize(
    ("method", "given", "field"),
    [
        ("pause", {}, "queue"),
        ("pause", {"queue": "a", "task": "b"}, "queue"),
        ("pause", {"queue": "a", "everything": True}, "queue"),
        ("pause", {"queue": "*"}, "queue"),
        ("limit", {"queue": "*", "concurrency": 1}, "queue"),
        ("pause", {"group": ("*", "a")}, r"group[0]"),
        ("pause", {"group": "mail"}, "group"),
        ("pause", {"group": ("mail", "")}, r"group[1]"),
        ("pause", {"queue": "a", "until": "soon"}, "until"),
        ("pause", {"queue": "a", "until": datetime(2030, 1, 1)}, "until"),  # noqa: DTZ001  that is the fault
        ("pause", {"queue": "a", "until": datetime(2020, 1, 1, tzinfo=UTC)}, "until"),
        ("pause", {"queue": "a", "until": datetime.max.replace(tzinfo=UTC)}, "until"),
        ("limit", {"queue": "a"}, "concurrency"),
        ("limit", {"queue": "", "concurrency": 1}, "queue"),
        ("limit", {"queue": "a", "concurrency": -1}, "concurrency"),
        ("limit", {"queue": "a", "rate": "often"}, "rate"),
        ("limit", {"queue": "a", "burst": 5}, "burst"),
        ("limit", {"queue": "a", "rate": None, "burst": 5}, "burst"),
    ],
)
async def test_what_cannot_be_said_is_refused_and_named(
    client: Client, method: str, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        await getattr(client.controls, method)(**given)
    assert caught.value.option == field
    assert str(caught.value).startswith(field)
    assert await client.controls.list() == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "fairness"),
        ({"fairness": "round robin"}, "fairness"),
        ({"weights": {"a": 0}}, "weights['a']"),
        ({"weights": ["a"]}, "weights"),
        ({"ageing": "0s"}, "ageing"),
    ],
)
async def test_turns_that_cannot_be_taken_are_refused_and_named(
    client: Client, given: dict[str, Any], field: str
) -> None:
    args = [given.pop("fairness")] if "fairness" in given else []
    with pytest.raises(InvalidOption) as caught:
        await client.controls.fairness("mail", *args, **given)
    assert caught.value.option == field
