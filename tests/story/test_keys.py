"""Keys from Python: unique, idempotent, by name, in batches, and what is stored of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from openqueue import Client, RunCancelled, task
from openqueue.clients import open_client
from openqueue.settings import load_settings
from openqueue.tasks.options import TaskOptions
from tests.support.worker_here import working


@task(name="sum")
async def total(numbers: list[float], label: str = "") -> float:
    return sum(numbers)


@task(name="send", concurrency_key=lambda to: f"mailbox {to}", key_concurrency=2)
async def send(to: str, subject: str = "") -> None: ...


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with open_client(load_settings(database_url=dsn)) as opened:
        yield opened


async def test_the_same_arguments_are_the_same_run_while_it_is_unfinished(dsn: str, client: Client) -> None:
    unique = total.options(unique="args")
    first = await client.enqueue(unique.item([1, 2], label="é"))
    for item in (
        unique.item(label="é", numbers=[1.0, 2]),
        unique.item([1, 2], "é"),
        total.options(unique="args", priority=3).item([1, 2], "é"),
    ):
        again = await client.enqueue(item)
        assert (again.id, again.outcome) == (first.id, "existing")
    named = await client.enqueue("sum", {"label": "é", "numbers": [1, 2]}, unique="args", allow_unknown=True)
    assert named.id == first.id
    others = await client.enqueue_many(
        [unique.item([2, 1], "é"), unique.item([1, 2]), send.options(unique="args").item("a")]
    )
    assert [run.outcome for run in others] == ["added"] * 3
    async with working(dsn, total, send):
        assert await first.result(timeout="60s") == 3
    assert (await client.enqueue(unique.item([1, 2], label="é"))).outcome == "added"


async def test_an_idempotent_enqueue_gives_the_result_of_the_run_that_it_was(
    dsn: str, client: Client
) -> None:
    once = total.options(idempotency="request 4711")
    async with working(dsn, total):
        first = await client.enqueue(once.item([1, 2]))
        assert await first.result(timeout="60s") == 3
    again = await client.enqueue(once.item([5]))
    assert (again.id, again.outcome, await again.result(timeout=0)) == (first.id, "existing", 3)


async def test_a_batch_may_have_items_with_keys_of_every_kind(client: Client) -> None:
    runs = await client.enqueue_many(
        [
            total.item([1]),
            total.options(idempotency="a").item([2]),
            total.options(idempotency="a").item([3]),
            total.options(key="k", key_mode="merge").item([4]),
            total.options(key="k", key_mode="merge").item([5]),
            total.options(unique="args").item([6]),
            total.options(unique="args").item([6.0]),
        ]
    )
    assert [run.outcome for run in runs] == [
        "added",
        "added",
        "existing",
        "added",
        "replaced",
        "added",
        "existing",
    ]
    assert (await runs[3].info()).input == {"numbers": [4, 5]}


async def test_how_long_an_idempotency_key_is_remembered_is_a_setting(
    dsn: str, db: asyncpg.Connection
) -> None:
    settings = load_settings(database_url=dsn, idempotency_ttl="2h")
    async with open_client(settings) as client:
        await client.enqueue(total.options(idempotency="a").item([1]))
        await client.enqueue(total.options(idempotency="b", idempotency_ttl="30m").item([1]))
    found = await db.fetch(
        "SELECT key, extract(epoch FROM expires - statement_timestamp())::integer / 60 AS minutes"
        " FROM openqueue.idempotency ORDER BY key"
    )
    assert [row["key"] for row in found] == ["a", "b"]
    assert 60 < found[0]["minutes"] <= 120
    assert 0 < found[1]["minutes"] <= 30


async def test_who_waits_for_a_retrying_run_that_is_replaced_learns_of_it(
    client: Client, db: asyncpg.Connection
) -> None:
    run = await client.enqueue(total.options(key="k").item([1]))
    await db.execute("UPDATE openqueue.jobs SET attempt = 1, state = 't', seq = NULL, run_at = now() + '1 h'")
    assert (await client.enqueue(total.options(key="k").item([2]))).outcome == "added"
    with pytest.raises(RunCancelled, match="another job with the same key took its place"):
        await run.result(timeout="60s")


async def test_a_task_known_by_name_has_its_limit_from_the_catalogue(
    client: Client, db: asyncpg.Connection
) -> None:
    described = TaskOptions.of(concurrency_key="printer", key_concurrency=3).describe()
    await db.execute(
        "SELECT openqueue.publish_tasks('default', 'p', jsonb_build_array(jsonb_build_object("
        "'task', 'print', 'queue', 'q', 'priority', 0, 'max_attempts', 5, 'options', $1::text::jsonb)))",
        json.dumps(described),
    )
    await client.enqueue("print", {}, group="g")
    await client.enqueue_many(
        [
            await client.item("print", {}, concurrency_key="mine"),
            send.item("ada"),
            total.options(priority=1).item([1]),
        ]
    )
    rows = await db.fetch(
        "SELECT task, group_key, concurrency_key, key_limit, keeps_slot FROM openqueue.jobs ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("print", "g", "printer", 3, False),
        ("print", None, "mine", 3, False),
        ("send", None, "mailbox ada", 2, False),
        ("sum", None, None, None, False),
    ]
