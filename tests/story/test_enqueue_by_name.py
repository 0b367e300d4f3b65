"""A task by its name: what workers have published says which arguments it takes."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from openqueue import task
from openqueue.clients import open_client
from openqueue.errors import InvalidArguments, UnknownTask
from openqueue.runs.client import Client
from openqueue.settings import load_settings

PUBLISH = "SELECT openqueue.publish_tasks('default', $1, $2::text::jsonb)"


@task(name="mail.send")
async def send(to: str, copies: int = 1) -> None: ...


@task(name="mail.send")
async def send_all(to: list[str]) -> None: ...


@pytest.fixture
async def client(dsn: str) -> Any:
    async with open_client(load_settings(database_url=dsn)) as opened:
        yield opened


async def publish(db: asyncpg.Connection, schema: Any, *, pool: str = "default") -> None:
    known = {
        "task": "mail.send",
        "queue": "default",
        "priority": 0,
        "max_attempts": 25,
        "input_schema": schema,
    }
    await db.execute(PUBLISH, pool, json.dumps([known]))


async def test_wrong_arguments_raise_what_a_wrong_call_of_the_task_raises(
    client: Client, db: asyncpg.Connection
) -> None:
    await publish(db, send.arguments.schema())
    for wrong, field in (
        ({}, "to"),
        ({"to": 1}, "to"),
        ({"to": "x", "tu": 2}, "tu"),
        ({"to": "x", "copies": []}, "copies"),
    ):
        with pytest.raises(InvalidArguments) as of_task:
            send.item(**wrong)
        with pytest.raises(InvalidArguments) as by_name:
            await client.enqueue("mail.send", wrong)
        assert of_task.value.field == by_name.value.field == field
        assert not by_name.value.stored
    assert await db.fetchval("SELECT count(*) FROM openqueue.run_requests") == 0
    run = await client.enqueue("mail.send", {"to": "x", "copies": 2})
    assert (await run.info()).input == {"to": "x", "copies": 2}


async def test_what_one_of_several_pools_takes_is_taken(client: Client, db: asyncpg.Connection) -> None:
    await publish(db, send.arguments.schema())
    await publish(db, send_all.arguments.schema(), pool="new")
    for good in ({"to": "x"}, {"to": ["x", "y"]}):
        await client.enqueue("mail.send", good)
    with pytest.raises(InvalidArguments, match="`to`"):
        await client.enqueue("mail.send", {"to": 1})


async def test_a_pool_that_has_published_no_schema_takes_anything(
    client: Client, db: asyncpg.Connection
) -> None:
    await publish(db, send.arguments.schema())
    await publish(db, None, pool="go")
    await client.enqueue("mail.send", {"anything": 1})


async def test_what_was_published_since_counts_before_anything_is_refused(
    client: Client, db: asyncpg.Connection
) -> None:
    await publish(db, send.arguments.schema())
    await client.enqueue("mail.send", {"to": "x"})
    await publish(db, send_all.arguments.schema())
    await client.enqueue("mail.send", {"to": ["x"]})
    await db.execute("DELETE FROM openqueue.catalog")
    with pytest.raises(UnknownTask):
        await client.enqueue("mail.send", {"to": 1})
    await client.enqueue("mail.send", {"to": 1}, allow_unknown=True)
