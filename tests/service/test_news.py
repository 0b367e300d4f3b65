"""`client.events(…)`: what happens to runs in other processes, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

import openqueue
from openqueue import GiveUp, InvalidOption, RunEvent, RunInfo, task
from openqueue.runs.news import KINDS
from openqueue.runs.watching import Watch
from tests.support.eventually import PATIENCE, eventually
from tests.support.worker_here import working

Told = list[tuple[RunInfo, RunEvent]]


@task(name="post.send", queue="mail", tags=["post"])
async def send(to: str) -> str:
    if to == "nobody":
        raise GiveUp("there is no such address")
    return to


@task(name="post.other")
async def other() -> None: ...


async def first(events: AsyncIterator[tuple[RunInfo, RunEvent]], count: int) -> Told:
    """The first of them; then the iterator is closed."""
    told: Told = []
    async with asyncio.timeout(PATIENCE):
        async for line in events:
            told.append(line)
            if len(told) == count:
                break
    await events.aclose()  # type: ignore[attr-defined]  # it is a generator
    return told


async def begun(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once an iterator follows what happens."""
    follows = asyncio.Event()
    begin = Watch.begin

    async def told(self: Watch) -> None:
        await begin(self)
        follows.set()

    monkeypatch.setattr(Watch, "begin", told)
    return follows


async def test_what_happens_elsewhere_is_told_in_order_and_only_of_what_was_chosen(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    follows = await begun(monkeypatch)
    async with working(dsn, send, other) as here, openqueue.connect(dsn) as client:
        telling = asyncio.create_task(first(client.events(task="post.send"), 3))
        await follows.wait()
        await here.worker.client.enqueue(other.item())
        run = await here.worker.client.enqueue(send.item("a@b.c"))
        told = await telling
    assert [(info.id, event.event) for info, event in told] == [
        (run.id, "enqueued"),
        (run.id, "started"),
        (run.id, "completed"),
    ]
    assert told[0][0].task == "post.send"


async def test_some_kinds_of_events_are_enough(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    follows = await begun(monkeypatch)
    async with working(dsn, send) as here, openqueue.connect(dsn) as client:
        telling = asyncio.create_task(first(client.events(tags=("post",), kinds=("failed",)), 1))
        await follows.wait()
        for to in ("a@b.c", "nobody"):
            await here.worker.client.enqueue(send.item(to))
        ((info, event),) = await telling
    assert info.input == {"to": "nobody"}
    assert event.data["error"]["message"] == "there is no such address"


async def test_a_notification_makes_it_look_at_once_and_without_any_it_looks_all_the_same(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    follows = await begun(monkeypatch)
    async with openqueue.connect(dsn) as client:
        telling = asyncio.create_task(first(client.events(every="1h"), 1))
        await follows.wait()
        run = await client.enqueue("post.send", {"to": "x"}, allow_unknown=True)

        async def nudged() -> bool:
            await client.database.fetch("listener_notify", "openqueue", "{}")
            return telling.done()

        await eventually(nudged)
        assert [info.id for info, _ in await telling] == [run.id]
        follows.clear()
        telling = asyncio.create_task(first(client.events(every="20ms"), 1))
        await follows.wait()
        await client.cancel(run.id)  # nobody is told of that
        ((_, event),) = await telling
    assert event.event == "cancelled"


async def test_a_loss_of_the_database_is_waited_out(
    dsn: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    follows = await begun(monkeypatch)
    async with openqueue.connect(dsn) as client:
        telling = asyncio.create_task(first(client.events(every="20ms"), 1))
        await follows.wait()
        await db.fetch(
            """SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
        run = await db.fetchval("SELECT openqueue.add_job('a.b')")
        assert [info.id for info, _ in await telling] == [run]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"kinds": ("fialed",)}, "there is no event 'fialed'. Did you mean 'failed'"),
        ({"tasks": "a.b"}, "there is no option 'tasks'. Did you mean 'task'"),
        ({"every": "soon"}, "every: 'soon' is not a duration"),
    ],
)
async def test_what_cannot_be_chosen_is_refused_at_once(dsn: str, chosen: Any, said: str) -> None:
    async with openqueue.connect(dsn) as client:
        with pytest.raises(InvalidOption, match=said):
            client.events(**chosen)


async def test_the_timeline_of_one_run_is_still_awaited(dsn: str) -> None:
    async with openqueue.connect(dsn) as client:
        run = await client.enqueue("post.send", {"to": "x"}, allow_unknown=True)
        assert [event.event for event in await client.events(run.id)] == ["enqueued"]
    assert {"enqueued", "completed", "failed"} <= set(KINDS)
