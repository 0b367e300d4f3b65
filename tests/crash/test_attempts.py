"""Whatever a task does, its attempt has one end, and the worker goes on."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

from openqueue import Cancelled, Client, Context, GiveUp, RunCancelled, RunFailed, Snooze, task
from openqueue.worker import executor
from openqueue.worker.events import LeaseWasLost, ThreadAbandoned
from tests.support.eventually import PATIENCE, eventually
from tests.support.worker_here import working

begun: list[str] = []


@task(name="long")
async def long(name: str = "") -> str:
    begun.append(name)
    await asyncio.Event().wait()
    return name


@task(name="quick", backoff="10ms")
async def quick(number: int) -> int:
    return number


async def outcomes(client: Client, run: Any) -> list[str]:
    return [one.outcome for one in await client.attempts(run.id)]


@pytest.mark.parametrize("told_by", ["notification", "beat"])
async def test_a_running_task_is_cancelled_within_a_second_or_with_the_next_beat(
    dsn: str, client: Client, told_by: str
) -> None:
    def deafen(worker: Any) -> None:
        if told_by == "beat":
            worker._listener._subscribers = ()

    begun.clear()
    heartbeat = "1h" if told_by == "notification" else "300ms"
    async with working(dsn, long, quick, prepare=deafen, heartbeat=heartbeat, lease="3h"):
        run = await long.enqueue()
        await eventually(lambda: begun)
        assert await client.cancel(run.id) == "cancelling"
        with pytest.raises(RunCancelled):
            await run.result("60s")
        assert await outcomes(client, run) == ["cancelled"]
        assert await (await quick.enqueue(1)).result("60s") == 1


async def test_a_thread_that_looks_at_cancelled_ends_when_it_is_told(
    dsn: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "PATIENCE", PATIENCE)

    @task(name="polite")
    def polite(*, ctx: Context = Context.injected) -> None:
        begun.append("polite")
        ctx.cancelled.wait_in_thread("60s")
        raise Cancelled("as you wish")

    begun.clear()
    async with working(dsn, polite) as here:
        run = await polite.enqueue()
        await eventually(lambda: begun)
        await client.cancel(run.id)
        with pytest.raises(RunCancelled):
            await run.result("60s")
        assert here.worker.abandoned == 0
        assert not here.heard(ThreadAbandoned)
        assert (await run.info()).error == {**((await run.info()).error or {}), "message": "as you wish"}


async def test_a_thread_that_does_not_end_when_cancelled_is_left_behind_and_its_place_is_free(
    dsn: str, client: Client
) -> None:
    release = threading.Event()

    @task(name="deaf")
    def deaf(wait: bool) -> str:
        begun.append("deaf")
        if wait:
            release.wait(240)
        return "ended"

    begun.clear()
    async with working(dsn, deaf, threads=1) as here:
        run = await deaf.enqueue(True)
        await eventually(lambda: begun)
        await client.cancel(run.id)
        with pytest.raises(RunCancelled):
            await run.result("60s")  # it would go on for four minutes
        assert here.worker.abandoned == 1
        assert await (await deaf.enqueue(False)).result("60s") == "ended"
        release.set()
        await eventually(lambda: here.worker.abandoned == 0)
        assert await outcomes(client, run) == ["cancelled"]


async def test_a_late_cancel_never_hits_the_next_job_in_the_same_place(dsn: str, client: Client) -> None:
    @task(name="short", backoff="10ms")
    async def short(seconds: float) -> None:
        await asyncio.sleep(seconds)

    chance = random.Random(7)
    kinds: set[str] = set()
    async with working(dsn, short, concurrency=2) as here:
        for longest in (0.012, 0.05, 0.5, 2.0):  # the latter for machines on which few begin in time
            condemned, spared = [], []
            for _ in range(150 if longest < 0.02 else 20):
                condemned.append(await short.enqueue(0.004))
                spared.append(await short.enqueue(0.004))
                await asyncio.sleep(chance.uniform(0, longest))
                await client.cancel(condemned[-1].id)
            for run in spared:
                await run.result("60s")
                assert await outcomes(client, run) == ["completed"]
            for run in condemned:
                await eventually(_finished(run))
                kinds.add((await run.info()).status)
            if len(kinds) > 1:
                break
        assert kinds == {"completed", "cancelled"}
        assert not here.heard(LeaseWasLost)


async def test_a_timeout_ends_an_async_attempt_and_is_retried(dsn: str, client: Client) -> None:
    ended = []

    @task(name="slow", timeout="100ms", max_attempts=2, backoff="10ms")
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async with working(dsn, slow):
        run = await slow.enqueue()
        with pytest.raises(RunFailed, match=r"timeout of 0\.1 s"):
            await run.result("60s")
        assert await outcomes(client, run) == ["failed", "failed"]
        assert len(ended) == 2


async def test_a_thread_left_behind_by_a_timeout_does_not_disturb_the_next_attempt(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    stop = threading.Event()

    @task(name="haunted", timeout="4s", max_attempts=3, backoff=0)
    def haunted(*, ctx: Context = Context.injected) -> str:
        ctx.log.info("alive")
        if ctx.attempt == 1:
            while not stop.wait(0.01):
                ctx.log.info("still here")
                ctx.progress({"ghost": True})
        else:
            time.sleep(0.2)
        ctx.log.info("end")
        return f"attempt {ctx.attempt}"

    try:
        async with working(dsn, haunted, threads=1) as here:
            run = await haunted.enqueue()
            assert await run.result("60s") == "attempt 2"
            assert await outcomes(client, run) == ["failed", "completed"]
            assert here.worker.abandoned == 1
            (left,) = here.heard(ThreadAbandoned)
            assert (left.run_id, left.why) == (run.id, "timeout")
            (failed, _) = await client.attempts(run.id)
            assert failed.error is not None
            assert "took longer than its timeout of 4 s" in failed.error["message"]
            assert not here.heard(LeaseWasLost)
            said = await db.fetch(
                "SELECT data ->> 'message' AS what FROM openqueue.run_log"
                " WHERE run_id = $1 AND attempt = 2 ORDER BY n",
                run.id,
            )
            assert [row["what"] for row in said] == ["alive", "end"]
            stop.set()
            await eventually(lambda: here.worker.abandoned == 0)
    finally:
        stop.set()


async def test_snoozed_attempts_are_not_counted(dsn: str, client: Client) -> None:
    @task(name="snoozing", max_attempts=1)
    async def snoozing(*, ctx: Context = Context.injected) -> int:
        begun.append("snoozing")
        if len(begun) < 4:
            raise Snooze("20ms")
        return ctx.attempt

    begun.clear()
    async with working(dsn, snoozing):
        run = await snoozing.enqueue()
        assert await run.result("60s") == 1
        assert await outcomes(client, run) == ["snoozed", "snoozed", "snoozed", "completed"]


async def test_give_up_fails_at_once_and_other_errors_are_tried_as_often_as_allowed(
    dsn: str, client: Client
) -> None:
    @task(name="hopeless", max_attempts=5, backoff="10ms")
    async def hopeless(give_up: bool) -> None:
        raise GiveUp("no use") if give_up else ValueError("bad luck")

    async with working(dsn, hopeless):
        first, second = await hopeless.enqueue(True), await hopeless.enqueue(False)
        with pytest.raises(RunFailed, match="no use"):
            await first.result("60s")
        with pytest.raises(RunFailed, match="bad luck"):
            await second.result("60s")
        assert await outcomes(client, first) == ["failed"]
        assert await outcomes(client, second) == ["failed"] * 5
        assert [one.counted for one in await client.attempts(second.id)] == [1, 2, 3, 4, 5]


async def test_no_more_sync_tasks_run_at_once_than_there_are_threads(dsn: str, client: Client) -> None:
    lock, now, most = threading.Lock(), 0, 0

    @task(name="counted")
    def counted() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    async with working(dsn, counted, threads=3):
        runs = await client.enqueue_many([counted.item() for _ in range(60)])
        await asyncio.gather(*(run.result("60s") for run in runs))
        assert most == 3


colour: ContextVar[str] = ContextVar("colour", default="none")


async def test_context_variables_do_not_leak_from_job_to_job(dsn: str, client: Client) -> None:
    @task(name="paint")
    async def paint(number: int) -> str:
        before = colour.get()
        colour.set(f"async {number}")
        await asyncio.sleep(0)
        return before

    @task(name="paint_thread")
    def paint_thread(number: int) -> str:
        before = colour.get()
        colour.set(f"thread {number}")
        return before

    async with working(dsn, paint, paint_thread, concurrency=2, threads=2):
        items = [(paint if number % 2 else paint_thread).item(number) for number in range(60)]
        runs = await client.enqueue_many(items)
        assert {await run.result("60s") for run in runs} == {"none"}


async def test_a_thread_has_the_context_variables_of_the_worker(dsn: str, client: Client) -> None:
    @task(name="painted")
    def painted() -> str:
        return colour.get()

    token = colour.set("green")
    try:
        async with working(dsn, painted):
            assert await (await painted.enqueue()).result("60s") == "green"
    finally:
        colour.reset(token)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __repr__(self) -> str:
        raise RuntimeError("no words either")


class Mean(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


def cyclic() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


ODDITIES: dict[str, Callable[[], object]] = {
    "sys.exit": lambda: sys.exit(3),
    "SystemExit": lambda: _throw(SystemExit("bye")),
    "KeyboardInterrupt": lambda: _throw(KeyboardInterrupt()),
    "GeneratorExit": lambda: _throw(GeneratorExit("odd")),
    "StopIteration": lambda: next(iter([])),
    "StopAsyncIteration": lambda: _throw(StopAsyncIteration()),
    "CancelledError": lambda: _throw(asyncio.CancelledError("mine")),
    "TimeoutError": lambda: _throw(TimeoutError("mine")),
    "unprintable": lambda: _throw(Unprintable()),
    "mean": lambda: _throw(Mean()),
    "cyclic": lambda: _throw(cyclic()),
    "group": lambda: _throw(BaseExceptionGroup("many", [KeyboardInterrupt(), ValueError("x")])),
    "NUL and surrogates": lambda: _throw(ValueError("a\0b\ud800")),
    "huge message": lambda: _throw(ValueError("é" * 5_000_000)),
    "recursion": lambda: _recurse(0),
}


def _throw(error: BaseException) -> None:
    raise error


def _recurse(depth: int) -> int:
    return _recurse(depth + 1) + 1


@task(name="odd", max_attempts=2, backoff="10ms")
async def odd(what: str) -> None:
    await asyncio.sleep(0)
    ODDITIES[what]()


@task(name="odd_thread", max_attempts=2, backoff="10ms")
def odd_thread(what: str) -> None:
    ODDITIES[what]()


async def test_whatever_leaves_a_task_fails_the_attempt_and_never_the_worker(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    async with working(dsn, odd, odd_thread, quick) as here:
        for one in (odd, odd_thread):
            runs = {what: await one.enqueue(what) for what in ODDITIES}
            for what, run in runs.items():
                with pytest.raises(RunFailed):
                    await run.result("60s")
                assert await outcomes(client, run) == ["failed", "failed"], what
                error = (await run.info()).error
                assert error is not None
                assert error["type"], what
            assert await (await quick.enqueue(5)).result("60s") == 5
        assert not here.ending.done()
        await here.stopped()
    assert await db.fetchval("SELECT count(*) FROM openqueue.claims") == 0


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


UNSTORABLE: dict[str, Callable[[], object]] = {
    "NaN": lambda: {"deep": [1, float("nan")]},
    "NUL": lambda: {"deep": "a\0b"},
    "surrogate": lambda: "\ud800",
    "2 MiB": lambda: "x" * (2 * 1024 * 1024),
    "object": object,
    "huge number": lambda: 10**400,
    "nested": lambda: nested(100_000),
}


@task(name="bad_output", max_attempts=1)
async def bad_output(what: str) -> Any:
    return UNSTORABLE[what]()


@task(name="deep_output", max_attempts=1)
async def deep_output(depth: int) -> Any:
    return nested(depth)


async def test_output_that_cannot_be_stored_fails_its_attempt_and_no_other(dsn: str, client: Client) -> None:
    async with working(dsn, bad_output, deep_output, quick) as here:
        bad = {what: await bad_output.enqueue(what) for what in UNSTORABLE}
        deep = [await deep_output.enqueue(depth) for depth in (100, 240, 500, 900, 5_000)]
        good = [await quick.enqueue(number) for number in range(20)]
        for what, run in bad.items():
            with pytest.raises(RunFailed):
                await run.result("60s")
            assert await outcomes(client, run) == ["failed"], what
        for run in deep:
            await eventually(_finished(run))
        assert [await run.result("60s") for run in good] == list(range(20))
        assert not here.ending.done()


def _finished(run: Any) -> Callable[[], Any]:
    async def look() -> bool:
        return bool((await run.info()).finished)

    return look


async def test_stored_input_that_no_longer_fits_fails_once_and_an_unknown_task_waits(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    add = "SELECT openqueue.add_job($1, $2::text::jsonb)"
    async with working(dsn, quick):
        wrong = await db.fetchval(add, "quick", '{"numbr": 1}')
        typed = await db.fetchval(add, "quick", '{"number": "seven"}')
        unknown = await db.fetchval(add, "of_tomorrow", "{}")
        for run_id, word in ((wrong, "numbr"), (typed, "number")):
            await eventually(_finished(client_run(client, run_id)))
            info = await client.get(run_id)
            assert info.status == "failed"
            assert info.error is not None
            assert word in info.error["message"]
            assert len(await client.attempts(run_id)) == 1
        assert (await client.get(unknown)).status == "queued"
        assert (await client.get(unknown)).attempt == 0


class client_run:  # noqa: N801
    def __init__(self, client: Client, run_id: Any) -> None:
        self.client, self.id = client, run_id

    async def info(self) -> Any:
        return await self.client.get(self.id)


async def test_what_a_task_says_can_be_read_while_it_runs(dsn: str, client: Client) -> None:
    @task(name="talking")
    async def talking(*, ctx: Context = Context.injected) -> None:
        await asyncio.sleep(0.1)
        ctx.progress({"done": 1})
        await asyncio.sleep(60)

    async with working(dsn, talking):
        run = await talking.enqueue()

        async def progress() -> Any:
            return (await run.info()).progress

        assert await eventually(progress) == {"done": 1}
        await client.cancel(run.id)
        with pytest.raises(RunCancelled):
            await run.result("60s")


async def test_everything_that_was_said_before_the_end_is_kept(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    @task(name="chatty")
    async def chatty(number: int, *, ctx: Context = Context.injected) -> None:
        for line in range(3):
            ctx.log.info("line", number=line)
            await asyncio.sleep(0)
        ctx.progress({"number": number})

    async with working(dsn, chatty) as here:
        await client.enqueue_many([chatty.item(number) for number in range(1500)])
        await eventually(lambda: db.fetchval("SELECT count(*) = 0 FROM openqueue.jobs"), every=0.05)
        assert not here.heard(LeaseWasLost)
        await here.stopped()
    assert await db.fetchval("SELECT count(*) FROM openqueue.run_log") == 1500 * 4
    assert await db.fetchval("SELECT count(*) FROM openqueue.claims") == 0
