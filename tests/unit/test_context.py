"""The Context: what a task knows of its run and may say about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest

from openqueue.errors import InvalidArguments, InvalidOption, OpenQueueError
from openqueue.tasks import enqueuer
from openqueue.tasks.context import Context
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.task import task

RUN = UUID(int=1)


class Taker:
    def __init__(self) -> None:
        self.taken: list[Item[Any]] = []

    async def enqueue(self, item: Item[Any], *, connection: object = None) -> Any:
        self.taken.append(item)
        return item.input

    async def enqueue_many(self, items: Iterable[Item[Any]], *, connection: object = None) -> Any:
        raise NotImplementedError


@task
def add(a: int, b: int) -> int:
    return a + b


def test_it_knows_its_run() -> None:
    ctx = Context(run_id=RUN, task="mail.send", attempt=2, max_attempts=5, meta={"a": 1}, tags=("x",))
    assert (ctx.run_id, ctx.task, ctx.queue, ctx.namespace) == (RUN, "mail.send", "default", "default")
    assert (ctx.attempt, ctx.max_attempts, ctx.meta, ctx.tags) == (2, 5, {"a": 1}, ("x",))
    assert ctx.scheduled_at is None
    assert ctx.tick is None
    assert not ctx.cancelled
    assert repr(ctx) == f"<Context of mail.send {RUN}, attempt 2 of 5>"


def test_log_lines_go_to_the_worker_and_share_one_logger() -> None:
    lines = []
    ctx = Context(run_id=RUN, task="x", emit_log=lambda *line: lines.append(line))
    ctx.log.info("sending", to="a@b.c")
    assert lines == [("info", "sending", {"to": "a@b.c"})]
    assert ctx.log is ctx.log


def test_progress_is_a_json_object() -> None:
    patches: list[dict[str, Any]] = []
    ctx = Context(run_id=RUN, task="x", emit_progress=patches.append)
    ctx.progress({"sent": 1})
    assert patches == [{"sent": 1}]
    wrong: Any
    for wrong in ([1], {1: 2}, {"a": float("nan")}, "half"):
        with pytest.raises(InvalidOption, match=r"^progress"):
            ctx.progress(wrong)
    assert len(patches) == 1


def test_a_context_that_nobody_listens_to_can_be_talked_to() -> None:
    ctx = Context(run_id=RUN, task="x")
    ctx.log.info("hello")
    ctx.progress({"a": 1})


async def test_it_enqueues_tasks_items_and_names() -> None:
    taker = Taker()
    ctx = Context(run_id=RUN, task="x", enqueuer=taker)
    await ctx.enqueue(add, 1, b=2)
    assert taker.taken[0].input == '{"a":1,"b":2}'
    await ctx.enqueue(add.options(delay="5m"), 1, 2)
    await ctx.enqueue(add.item(1, 2))
    await ctx.enqueue("mail.send", {"to": "a"}, priority=-1)
    assert [item.task for item in taker.taken] == [add.name, add.name, add.name, "mail.send"]
    assert taker.taken[1].options.delay is not None
    assert taker.taken[3].options.priority == -1
    anything: Any = print
    with pytest.raises(InvalidArguments, match="is not a task"):
        await ctx.enqueue(anything, 1)


async def test_without_one_of_its_own_it_enqueues_where_everybody_does() -> None:
    with enqueuer.using(taker := Taker()):
        await Context(run_id=RUN, task="x").enqueue(add, 1, 2)
    assert len(taker.taken) == 1


async def test_a_thread_enqueues_with_enqueue_sync() -> None:
    taker = Taker()
    ctx = Context(run_id=RUN, task="x", enqueuer=taker, loop=asyncio.get_running_loop())
    await asyncio.to_thread(lambda: ctx.enqueue_sync(add, 1, 2))
    assert taker.taken[0].input == '{"a":1,"b":2}'


async def test_enqueue_sync_on_the_event_loop_is_refused_instead_of_blocking_for_ever() -> None:
    ctx = Context(run_id=RUN, task="x", enqueuer=Taker(), loop=asyncio.get_running_loop())
    with pytest.raises(OpenQueueError, match=r"await ctx\.enqueue"):
        ctx.enqueue_sync(add, 1, 2)


def test_the_default_for_the_parameter_says_that_there_is_no_context() -> None:
    assert repr(Context.injected) == "Context.injected"
    with pytest.raises(OpenQueueError, match=r"^ctx\.log: there is no Context: the function was called"):
        Context.injected.log.info("x")
    with pytest.raises(OpenQueueError, match=r"^ctx\.run_id"):
        Context.injected.run_id  # noqa: B018
