"""A run's id as a program has it: a UUID, its text, or something else, which harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from openqueue import task
from openqueue.clients import open_client
from openqueue.errors import InvalidOption
from openqueue.runs.client import Client
from openqueue.runs.filter import RunFilter
from openqueue.settings import load_settings
from tests.support.worker_here import working


@task(name="echo")
async def echo(value: int) -> int:
    return value


async def test_the_text_of_an_id_is_as_good_as_the_id(dsn: str) -> None:
    async with open_client(load_settings(database_url=dsn)) as client, working(dsn, echo):
        run = await client.enqueue(echo.item(3))
        text: Any = str(run.id)
        assert await client.result(text, timeout="120s") == 3
        assert (await client.get(text)).id == run.id
        assert (await client.acting.act("cancel", [text])).answers == {"finished": 1}
        assert len(await client.attempts(text)) == 1


ASKED: list[Callable[[Client, Any], Awaitable[Any]]] = [
    lambda client, one: client.get(one),
    lambda client, one: client.result(one, timeout="120s"),
    lambda client, one: client.events(one),
    lambda client, one: client.attempts(one),
    lambda client, one: client.cancel(one),
    lambda client, one: client.retry(one),
    lambda client, one: client.promote(one),
    lambda client, one: client.acting.act("cancel", [one]),
    lambda client, one: client.acting.audit(one),
    lambda client, one: client.list_runs(RunFilter(before=one)),
]


@pytest.mark.parametrize("nonsense", ["42", 42, "01a2013d"])
async def test_what_is_no_id_is_refused_by_name(dsn: str, nonsense: object) -> None:
    async with open_client(load_settings(database_url=dsn)) as client:
        for ask in ASKED:
            with pytest.raises(InvalidOption, match="must be a UUID") as refused:
                await ask(client, nonsense)
            assert repr(nonsense) in str(refused.value)


async def test_an_id_alone_is_not_taken_for_many(dsn: str) -> None:
    async with open_client(load_settings(database_url=dsn)) as client:
        run = await client.enqueue(echo.item(3), connection=None)
        for one in (run.id, str(run.id)):
            with pytest.raises(InvalidOption, match="a list of ids"):
                await client.acting.act("cancel", one)  # type: ignore[arg-type]
        assert await client.cancel(run.id) == "cancelled"


async def test_whoever_waits_for_nonsense_disturbs_nobody(dsn: str) -> None:
    async with open_client(load_settings(database_url=dsn)) as client:
        run = await client.enqueue(echo.item(3))
        waiting = asyncio.create_task(client.result(run.id, timeout="120s"))
        nonsense: Any = "nonsense"
        with pytest.raises(InvalidOption):
            await client.result(nonsense, timeout="120s")
        async with working(dsn, echo):
            assert await waiting == 3
