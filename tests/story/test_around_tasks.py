"""What goes around attempts and workers: middleware, lifespans, subscribers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from openqueue import (
    AttemptFailed,
    CallNext,
    ConfigError,
    Context,
    GiveUp,
    InvalidOption,
    RunFailed,
    RunFinished,
    RunStarted,
    Snooze,
    Worker,
    middleware,
    subscribe,
    task,
    worker_lifespan,
)
from openqueue.tasks import lifespans as lifespans_room
from openqueue.tasks import middleware as middleware_room
from openqueue.testing import OpenQueue
from openqueue.testing.portal import Portal
from openqueue.worker import subscribers as subscribers_room
from openqueue.worker.events import WorkerStarted
from tests.support import process_tasks
from tests.support.eventually import eventually
from tests.support.process_tasks import Point

colour: ContextVar[str] = ContextVar("colour", default="none")
seen: list[Any] = []


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares for the process ends with it."""
    monkeypatch.setattr(middleware_room, "_declared", [])
    monkeypatch.setattr(lifespans_room, "_declared", [])
    monkeypatch.setattr(subscribers_room, "_subscriptions", [])
    seen.clear()


def named(name: str) -> Any:
    async def around(ctx: Context, call_next: CallNext) -> Any:
        seen.append(f"{name} before {ctx.task}")
        try:
            return await call_next()
        finally:
            seen.append(f"{name} after")

    return around


@task(name="around.see")
async def see(n: int = 1) -> str:
    seen.append("task")
    return f"{colour.get()} {n}"


@task(name="around.see_in_thread")
def see_in_thread(n: int = 1) -> str:
    seen.append("task")
    return f"{colour.get()} {n}"


@task(name="around.own", middleware=[named("own")])
async def own() -> None:
    seen.append("task")


@task(name="around.fail", max_attempts=2, backoff="10ms")
async def fail() -> None:
    raise ValueError("bad luck")


@task(name="around.state")
async def state(*, ctx: Context = Context.injected) -> list[Any]:
    return [ctx.state.number, ctx.state["word"], sorted(ctx.state)]


@task(name="around.state_in_thread")
def state_in_thread(*, ctx: Context = Context.injected) -> Any:
    return ctx.state.number


@task(name="around.missing", max_attempts=1)
async def missing(*, ctx: Context = Context.injected) -> Any:
    return ctx.state.pol


@asynccontextmanager
async def working(dsn: str, *tasks: Any, **more: Any) -> AsyncIterator[Worker]:
    async with Worker(tasks=tasks, database_url=dsn, **more) as worker:
        yield worker


async def test_middleware_goes_around_each_attempt_the_first_is_the_outermost(dsn: str) -> None:
    middleware(named("first"))
    middleware(named("second"))
    async with working(dsn, see, own, middleware=[named("third")]):
        await (await own.enqueue()).result("60s")
    assert seen == [
        "first before around.own",
        "second before around.own",
        "third before around.own",
        "own before around.own",
        "task",
        "own after",
        "third after",
        "second after",
        "first after",
    ]


@pytest.mark.parametrize("one", [see, see_in_thread], ids=["async", "thread"])
async def test_context_variables_that_middleware_sets_are_seen_by_the_task_and_by_no_other(
    dsn: str, one: Any
) -> None:
    async def paint(ctx: Context, call_next: CallNext) -> Any:
        assert colour.get() == "none"
        colour.set(f"colour of {ctx.run_id}")
        return await call_next()

    async with working(dsn, one, middleware=[paint], concurrency=2, threads=2):
        runs = [await one.enqueue(n) for n in range(20)]
        assert [await run.result("60s") for run in runs] == [
            f"colour of {run.id} {n}" for n, run in enumerate(runs)
        ]


async def test_middleware_sees_and_changes_results_of_every_kind_of_task(dsn: str) -> None:
    async def change(ctx: Context, call_next: CallNext) -> Any:
        result = await call_next()
        seen.append(result)
        return {"x": 0, "y": 0} if isinstance(result, dict) else result + "!"

    async with working(dsn, see, see_in_thread, process_tasks.move, middleware=[change]):
        assert await (await see.enqueue()).result("60s") == "none 1!"
        assert await (await see_in_thread.enqueue()).result("60s") == "none 1!"
        assert await (await process_tasks.move.enqueue(Point(1, 2))).result("60s") == Point(0, 0)
    assert {"x": 2, "y": 3} in seen, "of a process: as JSON knows it"


async def test_middleware_may_answer_itself_retry_and_raise(dsn: str) -> None:
    attempts: list[int] = []

    async def decide(ctx: Context, call_next: CallNext) -> Any:
        attempts.append(ctx.attempt)
        if ctx.task == "around.see":
            return "not run"
        if ctx.task == "around.own":
            raise GiveUp("not today")
        if len(attempts) == 3:
            raise Snooze("10ms")
        try:
            return await call_next()
        except ValueError:
            return await call_next()

    async with working(dsn, see, own, fail, middleware=[decide]) as worker:
        assert await (await see.enqueue()).result("60s") == "not run"
        with pytest.raises(RunFailed, match="not today"):
            await (await own.enqueue()).result("60s")
        run = await fail.enqueue()
        with pytest.raises(RunFailed, match="bad luck"):
            await run.result("60s")
        outcomes = [one.outcome for one in await worker.client.attempts(run.id)]
    assert outcomes == ["snoozed", "failed", "failed"]
    assert "task" not in seen


async def test_the_timeout_counts_middleware_too(dsn: str) -> None:
    @task(name="around.short", timeout="100ms", max_attempts=1)
    async def short() -> None: ...

    async def slow(ctx: Context, call_next: CallNext) -> Any:
        await asyncio.sleep(60)

    async with working(dsn, short, middleware=[slow]):
        with pytest.raises(RunFailed, match=r"timeout of 0\.1 s"):
            await (await short.enqueue()).result("60s")


async def test_what_a_middleware_is_told_of_an_error_in_a_process(dsn: str) -> None:
    async def hear(ctx: Context, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except Exception as error:
            seen.append(error)
            raise

    async with working(dsn, process_tasks.leave, middleware=[hear]):
        for how in ("plain", "picky", "give up"):
            with pytest.raises(RunFailed):
                await (await process_tasks.leave.enqueue(how)).result("60s")
    assert [type(error) for error in seen] == [
        *[process_tasks.Plain] * 2,
        *[process_tasks.Picky] * 2,
        GiveUp,
    ]
    assert [str(error) for error in seen[1:3]] == ["plain", "because (7)"]
    assert 'raise Plain("plain")' in seen[0].__notes__[0]


@pytest.mark.parametrize("wrong", [print, "no", lambda ctx, call_next: None, 7])
def test_what_is_no_middleware_is_refused_where_it_is_written(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="is no middleware"):
        middleware(wrong)
    with pytest.raises(InvalidOption, match="middleware"):
        task(middleware=[wrong])
    with pytest.raises(InvalidOption, match="middleware"):
        Worker(tasks=[], middleware=[wrong])


async def test_lifespans_begin_in_order_and_end_in_the_opposite_one(dsn: str) -> None:
    @worker_lifespan
    async def first() -> AsyncIterator[dict[str, Any]]:
        seen.append("first")
        yield {"number": 7}
        seen.append("first ends")

    @worker_lifespan
    @asynccontextmanager
    async def second() -> AsyncIterator[None]:
        seen.append("second")
        await see.enqueue()
        try:
            yield
        finally:
            seen.append("second ends")

    async def third() -> AsyncIterator[dict[str, Any]]:
        yield {"word": "w"}

    async with working(dsn, state, state_in_thread, see, lifespans=[third]):
        assert seen[:2] == ["first", "second"]
        assert await (await state.enqueue()).result("60s") == [7, "w", ["number", "word"]]
        assert await (await state_in_thread.enqueue()).result("60s") == 7
    assert seen == ["first", "second", "task", "second ends", "first ends"]


async def test_a_name_that_no_lifespan_yields_is_an_error_that_says_which_there_are(dsn: str) -> None:
    async def pool() -> AsyncIterator[dict[str, Any]]:
        yield {"pool": 1}

    async with working(dsn, missing, lifespans=[pool]):
        with pytest.raises(RunFailed, match=r"ctx.state.pol: no worker_lifespan yields it. There are: pool"):
            await (await missing.enqueue()).result("60s")


async def test_a_lifespan_that_fails_stops_the_start_and_those_before_it(dsn: str) -> None:
    @worker_lifespan
    async def good() -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("good ends")

    @worker_lifespan
    async def bad() -> AsyncIterator[None]:
        open("/there/is/no/such/server")  # noqa: ASYNC230, PTH123, SIM115
        yield

    with pytest.raises(ConfigError, match=r"bad failed.*FileNotFoundError: .*no/such/server"):
        async with working(dsn, see):
            seen.append("never")
    assert seen == ["good ends"]


@pytest.mark.parametrize("yielded", [7, {1: 2}, ["pool"]])
async def test_a_lifespan_must_yield_names(dsn: str, yielded: Any) -> None:
    async def odd() -> AsyncIterator[Any]:
        yield yielded

    with pytest.raises(ConfigError, match="must yield a dict by names"):
        async with working(dsn, see, lifespans=[odd]):
            pass


async def test_two_lifespans_of_one_name_are_refused(dsn: str) -> None:
    async def one() -> AsyncIterator[Any]:
        yield {"pool": 1}

    async def two() -> AsyncIterator[Any]:
        yield {"pool": 2}

    with pytest.raises(ConfigError, match=r"two worker_lifespans yield 'pool': .*one and .*two"):
        async with working(dsn, see, lifespans=[one, two]):
            pass


@pytest.mark.parametrize("wrong", [print, 7, see])
def test_what_is_no_lifespan_is_refused_where_it_is_written(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="is no lifespan"):
        worker_lifespan(wrong)


async def test_subscribers_hear_what_happens_in_order(dsn: str) -> None:
    here, heard, failed = threading.get_ident(), [], []
    where: set[bool] = set()

    def listen(event: RunStarted | RunFinished) -> None:
        where.add(threading.get_ident() == here)
        heard.append(event)

    async def fails(event: AttemptFailed) -> None:
        where.add(threading.get_ident() == here)
        await asyncio.sleep(0)
        failed.append(event)

    stop = subscribe(RunStarted | RunFinished, listen)
    subscribe(AttemptFailed, fails)
    async with working(dsn, see, fail):
        run = await fail.enqueue()
        with pytest.raises(RunFailed):
            await run.result("60s")
        await eventually(lambda: len(heard) == 4 and len(failed) == 2)
        stop()
        await (await see.enqueue()).result("60s")
    for attempt in (1, 2):
        told = [type(one).__name__ for one in heard if one.attempt == attempt]
        assert told == ["RunStarted", "RunFinished"], "what an attempt does is told in order"
    assert [(one.outcome, one.is_final, one.task) for one in failed] == [
        ("retry", False, "around.fail"),
        ("failed", True, "around.fail"),
    ]
    assert failed[0].reason["message"] == "bad luck"
    assert where == {False, True}, "a coroutine in the worker's loop, a function in a thread"


async def test_who_subscribes_while_a_worker_works_hears_it_too(dsn: str) -> None:
    heard: list[RunFinished] = []
    async with working(dsn, see):
        subscribe(RunFinished, heard.append)
        await (await see.enqueue()).result("60s")
        await eventually(lambda: heard)
    started: list[WorkerStarted] = []
    subscribe(WorkerStarted, started.append)
    async with working(dsn, see):
        pass
    assert len(started) == 1, "what was told last is delivered before the worker is gone"


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_a_subscriber_that_raises_or_is_slow_harms_nobody_and_is_reported_once(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, release: threading.Event
) -> None:
    monkeypatch.setattr(subscribers_room, "LONGEST_QUEUE", 5)
    monkeypatch.setattr(subscribers_room, "PATIENCE", 0.1)
    heard: list[RunFinished] = []

    def raises(event: RunFinished) -> None:
        raise ValueError("of the subscriber")

    def slow(event: RunFinished) -> None:
        release.wait(240)

    async def hangs(event: RunFinished) -> None:
        await asyncio.Event().wait()

    for one in (raises, slow, hangs, heard.append):
        subscribe(RunFinished, one)
    with caplog.at_level(logging.ERROR, "openqueue.events"):
        async with working(dsn, see):
            outputs: list[Any] = []
            while len(outputs) < 20:
                outputs.append(await (await see.enqueue()).result("60s"))
                await eventually(lambda: len(heard) == len(outputs))
    said = [record.getMessage() for record in caplog.records if record.name == "openqueue.events"]
    assert sum("failed on RunFinished" in one for one in said) == 1
    assert sum("too slow" in one and "slow at" in one for one in said) == 1
    assert sum("too slow" in one and "hangs" in one for one in said) == 1


@pytest.mark.parametrize("kind", [int, "failed", RunFailed])
def test_what_is_no_event_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidOption, match="no kind of event"):
        subscribe(kind, print)
    with pytest.raises(InvalidOption, match="cannot be called"):
        subscribe(RunStarted, 7)  # type: ignore[arg-type]


@pytest.fixture
def openqueue(dsn: str) -> Iterator[OpenQueue]:
    portal = Portal()
    queue = OpenQueue(dsn, portal)
    with queue.in_use():
        yield queue
    portal.close()


async def test_in_a_drain_everything_is_around_the_task_as_in_a_worker(openqueue: OpenQueue) -> None:
    @worker_lifespan
    async def life() -> AsyncIterator[dict[str, Any]]:
        seen.append("opened")
        yield {"number": 7, "word": "w"}
        seen.append("closed")

    heard: list[RunStarted | RunFinished] = []
    middleware(named("m"))
    subscribe(RunStarted | RunFinished, heard.append)
    await state.enqueue()
    await process_tasks.move.enqueue(Point(1, 1))
    first, second = await openqueue.drain()
    assert first.output == [7, "w", ["number", "word"]]
    assert second.output == {"x": 2, "y": 2}
    assert seen == [
        "opened",
        "m before around.state",
        "m after",
        "m before process.move",
        "m after",
        "closed",
    ]
    assert [type(one) for one in heard] == [RunStarted, RunFinished] * 2


async def test_a_drain_raises_the_error_of_a_process_with_its_traceback(openqueue: OpenQueue) -> None:
    await process_tasks.leave.enqueue("plain")
    with pytest.raises(process_tasks.Plain) as caught:
        await openqueue.drain()
    assert any('raise Plain("plain")' in note for note in caught.value.__notes__)


def test_a_drain_without_an_event_loop_runs_processes(openqueue: OpenQueue) -> None:
    process_tasks.parent.enqueue_sync()
    ran = openqueue.drain_sync()
    assert [one.task for one in ran] == ["process.parent", "process.child", "process.child"]
