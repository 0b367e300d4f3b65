"""`openqueue.testing`, as the tests of a program use it, on the database of the test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

import openqueue as front
from openqueue import Context, GiveUp, InvalidArguments, InvalidOption, RunFailed, Snooze, UnknownTask, task
from openqueue.clients import default_enqueuer
from openqueue.errors import UnexpectedState
from openqueue.settings import load_settings
from openqueue.tasks.enqueuer import Item
from openqueue.testing import OpenQueue
from openqueue.testing.portal import Portal
from tests.support.eventually import eventually

ran: list[str] = []
seen: ContextVar[str] = ContextVar("seen", default="nothing")


@dataclass
class Address:
    street: str
    number: int


@task(queue="mail", tags=["post"])
async def send(to: str, subject: str = "Hello", day: date | None = None) -> str:
    ran.append(to)
    return f"sent to {to}"


@task(queue="parcels")
def deliver(address: Address, items: list[str]) -> Address:
    ran.append(address.street)
    return address


@task(max_attempts=3, backoff="1h")
async def call(number: str) -> None:
    ran.append(number)
    raise ConnectionError(f"{number} is busy")


@task
async def tree(depth: int) -> int:
    ran.append(str(depth))
    if depth:
        await tree.enqueue(depth - 1)
        await tree.enqueue(depth - 1)
    return depth


@task
def plant(depth: int) -> int:
    ran.append(f"plant {depth}")
    if depth:
        plant.enqueue_sync(depth - 1)
    return depth


@task
async def give_up() -> None:
    raise GiveUp("for good")


@task
async def snooze(ctx: Context) -> int:
    ctx.log.info("looking")
    if ctx.attempt == 1 and not ran:
        ran.append("snoozed")
        raise Snooze("2h")
    return ctx.attempt


@task(max_attempts=1)
async def unstorable() -> object:
    return object()


@task(timeout="50ms", max_attempts=1)
async def slow() -> None:
    await asyncio.Event().wait()


@task
async def leave_a_trace() -> str:
    before = seen.get()
    seen.set("the run before")
    return before


@task
async def for_ever() -> None:
    await for_ever.enqueue()


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


@pytest.fixture
def openqueue(dsn: str, portal: Portal) -> Iterator[OpenQueue]:
    ran.clear()
    queue = OpenQueue(dsn, portal)
    with queue.in_use():
        yield queue


async def test_what_was_enqueued_is_found_by_a_part_of_its_arguments(openqueue: OpenQueue) -> None:
    run = await send.enqueue("ada", day=date(2026, 1, 2))
    await send.enqueue("bob", "Bye")
    assert [one.id for one in openqueue.enqueued(send, to="ada")] == [run.id]
    assert openqueue.enqueued(send, day=date(2026, 1, 2))
    assert openqueue.enqueued(send, day="2026-01-02")
    assert openqueue.enqueued(send.name, to="bob")
    assert len(openqueue.enqueued(send)) == len(openqueue.enqueued()) == 2
    assert openqueue.enqueued(send)[1].input == {"to": "bob", "subject": "Bye"}
    assert not openqueue.enqueued(send, to="ada", subject="Bye")
    assert not openqueue.enqueued(deliver)


async def test_an_argument_that_was_left_out_is_found_by_its_default(openqueue: OpenQueue) -> None:
    await send.enqueue("ada")
    assert openqueue.enqueued(send, to="ada", subject="Hello", day=None)
    assert not openqueue.enqueued(send.name, subject="Hello"), "by name only what is stored is known"


async def test_what_was_enqueued_is_found_by_its_options(openqueue: OpenQueue) -> None:
    await send.options(delay="5m", key="k", priority=-3, meta={"a": 1, "b": 2}, tags=["vip"]).enqueue("ada")
    moment = datetime.now(UTC) + timedelta(days=1)
    await send.options(run_at=moment, queue="later").enqueue("bob")
    found = openqueue.enqueued(
        send, to="ada", queue="mail", key="k", priority=-3, delay="5m", status="scheduled"
    )
    assert len(found) == 1
    assert openqueue.enqueued(meta={"b": 2}, tags=["post", "vip"])
    assert openqueue.enqueued(send, run_at=moment, queue="later")
    assert not openqueue.enqueued(send, delay="6m")
    assert not openqueue.enqueued(send, delay=None)
    assert not openqueue.enqueued(meta={"a": 2})
    assert not openqueue.enqueued(tags=["vip", "x"])


async def test_dataclasses_are_compared_as_the_task_would_get_them(openqueue: OpenQueue) -> None:
    await deliver.enqueue(Address("High Street", 1), items=["a", "b"])
    assert openqueue.enqueued(deliver, address=Address("High Street", 1), items=["a", "b"])
    assert openqueue.enqueued(deliver, address={"street": "High Street", "number": 1})
    assert openqueue.enqueued(deliver.name, items=("a", "b"))
    assert not openqueue.enqueued(deliver, address=Address("High Street", 2))


def test_a_slip_in_a_name_is_refused(openqueue: OpenQueue) -> None:
    with pytest.raises(InvalidOption, match=r"subjekt: .* no such argument.* Did you mean 'subject'\?"):
        openqueue.enqueued(send, subjekt="Hello")


async def test_a_search_in_vain_says_what_waits(openqueue: OpenQueue) -> None:
    assert "nothing else does" in repr(openqueue.enqueued(send, to="bob"))
    await send.enqueue("ada")
    said = repr(openqueue.enqueued(send, to="bob"))
    assert said == f"<no run of {send.name} with to='bob' waits; what waits: {send.name}(to='ada')>"
    assert repr(openqueue.enqueued(send)) == f"<{send.name}(to='ada')>"


async def test_a_drain_runs_what_waits_in_the_order_of_the_queue(openqueue: OpenQueue) -> None:
    for name in ("b", "c"):
        await send.enqueue(name)
    await send.options(priority=-1).enqueue("a")
    run = await deliver.enqueue(Address("d", 4), [])
    drained = await openqueue.drain()
    assert ran == ["a", "b", "c", "d"]
    assert [one.outcome for one in drained] == ["completed"] * 4
    assert (drained[3].id, drained[3].task, drained[3].attempt) == (run.id, deliver.name, 1)
    assert drained[3].output == {"street": "d", "number": 4}
    assert await run.result() == Address("d", 4)
    assert not openqueue.enqueued()
    assert len(await openqueue.drain()) == 0


async def test_a_drain_runs_what_its_runs_enqueue(openqueue: OpenQueue) -> None:
    await tree.enqueue(2)
    assert len(await openqueue.drain()) == 7
    assert ran == ["2", "1", "1", "0", "0", "0", "0"]


async def test_a_drain_of_one_queue_leaves_the_others(openqueue: OpenQueue) -> None:
    await send.enqueue("ada")
    await deliver.enqueue(Address("a", 1), [])
    assert [one.task for one in await openqueue.drain(queue="parcels")] == [deliver.name]
    assert openqueue.enqueued(send)


async def test_the_error_of_a_task_is_raised_as_it_is_and_stored(openqueue: OpenQueue) -> None:
    run = await call.enqueue("112")
    await send.enqueue("ada")
    with pytest.raises(ConnectionError, match="112 is busy") as caught:
        await openqueue.drain()
    assert caught.traceback[-1].name == "call"
    assert f"run {run.id} of {call.name}, attempt 1: retry" in caught.value.__notes__[0]
    assert await run.status() == "retrying"
    assert [one.error and one.error["message"] for one in openqueue.enqueued(call)] == ["112 is busy"]
    assert openqueue.enqueued(send, to="ada"), "the rest is ready as before"


async def test_errors_are_collected_on_request(openqueue: OpenQueue) -> None:
    run = await give_up.enqueue()
    await send.enqueue("ada")
    drained = await openqueue.drain(raises=False)
    assert (drained.count("failed"), drained.count("completed")) == (1, 1)
    (error,) = drained.errors
    assert isinstance(error, GiveUp)
    assert await run.status() == "failed"


async def test_a_result_that_cannot_be_stored_and_a_timeout_are_errors_too(openqueue: OpenQueue) -> None:
    await unstorable.enqueue()
    await slow.enqueue()
    await (await default_enqueuer()).enqueue(send.name, {"whom": "ada"}, allow_unknown=True)
    drained = await openqueue.drain(raises=False)
    assert [type(one).__name__ for one in drained.errors] == [
        "NotSerializable",
        "TimedOut",
        "InvalidArguments",
    ]


async def test_a_retry_comes_when_its_time_has_come(openqueue: OpenQueue) -> None:
    run = await call.enqueue("112")
    assert (await openqueue.drain(raises=False)).count("retry") == 1
    assert len(await openqueue.drain()) == 0
    openqueue.advance("59m")
    assert len(await openqueue.drain()) == 0
    openqueue.advance("1m")
    assert (await openqueue.drain(raises=False)).count("retry") == 1
    openqueue.advance("1h")
    assert (await openqueue.drain(raises=False)).count("failed") == 1
    assert openqueue.advanced == timedelta(hours=2)
    assert [one.event for one in await run.events()] == [
        "enqueued",
        *["started", "retried"] * 2,
        "started",
        "failed",
    ]


async def test_a_scheduled_run_is_due_once_its_time_has_passed(openqueue: OpenQueue) -> None:
    run = await send.options(delay="1d").enqueue("ada")
    assert len(await openqueue.drain()) == 0
    openqueue.advance("1d")
    assert openqueue.enqueued(send, delay="1d"), "what was asked for is not rewritten"
    assert len(await openqueue.drain()) == 1
    assert await run.status() == "completed"


async def test_a_snoozed_run_comes_again(openqueue: OpenQueue) -> None:
    run = await snooze.enqueue()
    assert [one.outcome for one in await openqueue.drain()] == ["snoozed"]
    openqueue.advance("2h")
    assert [one.output for one in await openqueue.drain()] == [1]
    assert [one.event for one in await run.events()].count("log") == 2


async def test_a_deadline_comes_nearer_as_time_passes(openqueue: OpenQueue) -> None:
    run = await send.options(deadline="30m").enqueue("ada")
    openqueue.advance("29m")
    assert await run.status() == "queued"
    openqueue.advance("1m")
    assert len(await openqueue.drain()) == 0
    assert await run.status() == "expired"


async def test_inline_the_run_of_an_enqueue_has_its_result(openqueue: OpenQueue) -> None:
    with openqueue.inline():
        run = await deliver.enqueue(Address("a", 1), ["x"])
        assert ran == ["a"]
        assert await run.result(timeout="60s") == Address("a", 1)
        await front.enqueue_many([send.item("bob"), send.item("eve")])
        assert ran == ["a", "bob", "eve"]
        later = await send.options(delay="1h").enqueue("ada")
    assert await later.status() == "scheduled"
    await send.enqueue("zoe")
    assert openqueue.enqueued(send, to="zoe"), "the block is over"


async def test_inline_what_a_task_enqueues_runs_before_it_goes_on(openqueue: OpenQueue) -> None:
    with openqueue.inline():
        await tree.enqueue(2)
    assert ran == ["2", "1", "0", "0", "1", "0", "0"]


async def test_inline_arguments_are_checked_and_errors_reach_the_caller(openqueue: OpenQueue) -> None:
    with openqueue.inline():
        with pytest.raises(InvalidArguments):
            await send.enqueue(to=7)  # type: ignore[arg-type]
        with pytest.raises(GiveUp):
            await give_up.enqueue()
    with openqueue.inline(raises=False):
        run = await give_up.enqueue()
    with pytest.raises(RunFailed, match="for good"):
        await run.result()


async def test_inline_what_is_part_of_a_transaction_waits_for_its_commit(
    openqueue: OpenQueue, db: asyncpg.Connection
) -> None:
    with openqueue.inline():
        async with db.transaction():
            await send.options(connection=db).enqueue("ada")
            assert not openqueue.enqueued(send)
        assert openqueue.enqueued(send)
    assert len(await openqueue.drain()) == 1


async def test_a_task_is_enqueued_by_its_name(openqueue: OpenQueue) -> None:
    await front.enqueue(send.name, {"to": "ada"})
    assert openqueue.enqueued(send, to="ada", queue="mail")
    with pytest.raises(UnknownTask, match="Did you mean"):
        await front.enqueue(send.name + "s", {"to": "ada"})


async def test_a_ready_run_of_a_task_that_nobody_declares_is_an_error(openqueue: OpenQueue) -> None:
    client = await default_enqueuer()
    await client.enqueue(Item.named(send.name + "s"))
    with pytest.raises(UnknownTask, match=f"Did you mean '{send.name}'"):
        await openqueue.drain()
    assert len(await openqueue.drain(raises=False)) == 0
    assert openqueue.enqueued(send.name + "s")


async def test_a_drain_without_end_is_ended(openqueue: OpenQueue) -> None:
    await for_ever.enqueue()
    with pytest.raises(UnexpectedState, match=r"drain has run 20 attempts.*enqueue each other for ever"):
        await openqueue.drain(limit=20)


async def test_exactly_as_many_as_the_limit_may_run(openqueue: OpenQueue) -> None:
    await tree.enqueue(1)
    assert len(await openqueue.drain(limit=3)) == 3


async def test_a_drain_that_is_cancelled_cancels_what_it_runs(openqueue: OpenQueue) -> None:
    ended = asyncio.Event()

    @task
    async def wait() -> None:
        ran.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await wait.enqueue()
    draining = asyncio.create_task(openqueue.drain())
    await eventually(lambda: ran == ["began"])
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert ended.is_set()


async def test_runs_do_not_see_each_others_context_variables(openqueue: OpenQueue) -> None:
    await leave_a_trace.enqueue()
    await leave_a_trace.enqueue()
    assert [one.output for one in await openqueue.drain()] == ["nothing", "nothing"]
    assert seen.get() == "nothing"


def test_a_test_without_an_event_loop_drains_too(openqueue: OpenQueue) -> None:
    send.enqueue_sync("ada")
    call.enqueue_sync("112")
    assert openqueue.enqueued(send, to="ada")
    with pytest.raises(ConnectionError):
        openqueue.drain_sync()
    openqueue.advance("1h")
    assert openqueue.drain_sync(raises=False).count("retry") == 1
    assert sorted(ran) == ["112", "112", "ada"]


def test_inline_without_an_event_loop_the_run_of_an_enqueue_has_its_result(openqueue: OpenQueue) -> None:
    with openqueue.inline():
        assert deliver.enqueue_sync(Address("a", 1), ["x"]).result_sync(timeout="60s") == Address("a", 1)
        assert front.enqueue_sync(plant.name, {"depth": 2}).result_sync(timeout="60s") == 2
        with pytest.raises(GiveUp):
            give_up.enqueue_sync()
    assert ran == ["a", "plant 2", "plant 1", "plant 0"]


def test_a_drain_without_an_event_loop_runs_what_threads_enqueue(openqueue: OpenQueue) -> None:
    plant.enqueue_sync(2)
    assert len(openqueue.drain_sync()) == 3


def test_a_task_in_the_loop_of_a_drain_cannot_block_it(openqueue: OpenQueue) -> None:
    @task(max_attempts=1)
    async def block() -> None:
        plant.enqueue_sync(0)

    block.enqueue_sync()
    with openqueue.inline(), pytest.raises(RuntimeError, match="await its twin"):
        openqueue.drain_sync()


async def test_in_an_event_loop_the_blocking_drain_is_refused(openqueue: OpenQueue) -> None:
    with pytest.raises(RuntimeError, match=r"await openqueue\.drain"):
        openqueue.drain_sync()


async def test_a_loop_that_outlives_a_test_enqueues_to_the_database_of_the_next(
    openqueue: OpenQueue, databases: object, empty_dsn: str, portal: Portal
) -> None:
    from openqueue.db.migrations import migrate

    await migrate(empty_dsn)
    await send.enqueue("here")
    other = OpenQueue(empty_dsn, portal)
    with other.in_use():
        await send.enqueue("there")
        assert other.enqueued(send, to="there")
        assert not other.enqueued(send, to="here")
    await send.enqueue("here again")
    assert [one.input["to"] for one in openqueue.enqueued()] == ["here", "here again"]


async def test_a_worker_may_work_in_a_test_too(openqueue: OpenQueue) -> None:
    async with front.Worker(tasks=[send]):
        assert await (await send.enqueue("ada")).result(timeout="60s") == "sent to ada"
    assert not openqueue.enqueued()


def test_the_settings_name_the_database_only_as_long_as_it_is_in_use(dsn: str, portal: Portal) -> None:
    before = dict(os.environ)
    queue = OpenQueue(dsn, portal)
    with queue.in_use():
        url, listen = load_settings().database_url, load_settings().listen_dsn
        assert url is not None
        assert listen is not None
        assert url.get_secret_value() == listen.get_secret_value() == dsn
    assert dict(os.environ) == before
