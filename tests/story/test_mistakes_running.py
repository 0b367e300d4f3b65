"""Mistakes that show when a task runs: what it gives back, what it waits for, what it swallows."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY

import pytest

from openqueue import Task, enqueue, enqueue_sync, task
from openqueue.errors import RunExpired, RunFailed
from openqueue.events import Events
from openqueue.telemetry.logs import LINES, Logs
from openqueue.worker.events import AttemptAbandoned, LoopBlocked, LoopFreed, PlacesWait, ThreadAbandoned
from openqueue.worker.watchdog import place_of
from openqueue.worker.worker import Worker
from tests.story.mistakes import Mistake, check
from tests.support.eventually import eventually
from tests.support.worker_here import working

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@task(name="run.object", max_attempts=1)
async def gives_an_object() -> Any:
    return object()


@task(name="run.large", max_attempts=1)
async def gives_too_much() -> str:
    return "x" * 2**21


@task(name="run.wants", max_attempts=1)
async def wants_a_number(number: int) -> None: ...


@task(name="run.blocks")
async def blocks() -> None:
    RELEASED.wait(240)  # the mistake itself


@task(name="run.swallows")
async def swallows() -> None:
    BEGUN.set()
    while not RELEASED.is_set():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            SWALLOWED.set()


@task(name="run.deaf", timeout="100ms", max_attempts=1)
def deaf() -> None:
    RELEASED.wait(240)


@task(name="run.parent")
async def parent(depth: int = 1) -> str:
    child = parent.item(depth - 1) if depth else gives_an_object.item()
    return str(await (await enqueue(child)).result("60s"))


@task(name="run.thread")
def thread() -> None:
    enqueue_sync(gives_in_thread.item()).result_sync("60s")


@task(name="run.in_thread")
def gives_in_thread() -> None: ...


@task(name="run.elsewhere")
async def waits_elsewhere() -> None:
    await (await wants_a_number.options(queue="elsewhere").enqueue(1)).result("60s")


BEGUN, RELEASED, SWALLOWED = threading.Event(), threading.Event(), threading.Event()

ROWS = [
    Mistake("a result without a JSON form", "run.object", RunFailed, "run.object", "have no JSON form", "Pass text, numbers"),
    Mistake("a huge result", "run.large", RunFailed, "run.large", "more than the 1 MiB", "pass a reference"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def released() -> Any:
    for one in (BEGUN, RELEASED, SWALLOWED):
        one.clear()
    yield
    RELEASED.set()


@pytest.mark.parametrize("mistake", ROWS, ids=str)
async def test_a_mistake_in_what_a_task_gives_back_fails_the_run_with_the_reason(
    mistake: Mistake, dsn: str
) -> None:
    assert isinstance(mistake.ends, type)
    async with working(dsn, gives_an_object, gives_too_much) as here:
        run = await here.worker.client.enqueue(mistake.where, {}, allow_unknown=True)
        with pytest.raises(mistake.ends) as caught:
            await run.result("60s")
    check(str(caught.value), mistake)


async def test_a_run_whose_deadline_has_passed_expires_and_says_so(dsn: str) -> None:
    async with working(dsn, wants_a_number) as here:
        run = await here.worker.client.enqueue(
            "run.wants", {"number": 1}, deadline=LONG_AGO, allow_unknown=True
        )
        with pytest.raises(RunExpired, match="deadline"):
            await run.result("60s")


async def test_a_task_that_blocks_the_event_loop_is_named_with_the_line_and_how_long_while_it_lasts(
    dsn: str,
) -> None:
    """It blocks until it is told of, and a while longer."""

    def end_when_told(worker: Worker) -> None:
        def hear(event: LoopBlocked) -> None:
            if event.task == "run.blocks":
                time.sleep(0.1)
                RELEASED.set()

        worker._bus.subscribe(LoopBlocked, hear)

    async with working(dsn, blocks, prepare=end_when_told) as here:
        run = await here.worker.client.enqueue(blocks.item())
        await run.result("60s")
        (blocked,) = [one for one in here.heard(LoopBlocked) if one.task == "run.blocks"]
        after = here.told.index(blocked)
        freed = await eventually(lambda: [one for one in here.told[after:] if isinstance(one, LoopFreed)])
    assert blocked.run_id == run.id
    assert 1 <= blocked.seconds < freed[0].seconds
    assert "test_mistakes_running.py" in blocked.place
    assert blocked.place.endswith("in blocks")


def test_the_log_of_a_blocked_loop_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    bus = Events()
    Logs(logging.INFO).subscribe(bus)
    with caplog.at_level(logging.INFO, logger="openqueue"):
        bus.emit(LoopBlocked("mail.send", None, 1.2, "mail.py:3 in send"))
    assert LoopBlocked in LINES
    for part in ("mail.send", "1.2", "mail.py:3 in send", "await", "def"):
        assert part in caplog.text


def test_the_place_of_a_thread_is_the_innermost_line_of_the_program() -> None:
    def wait() -> None:
        BEGUN.set()
        RELEASED.wait(240)

    thread = threading.Thread(target=wait)
    thread.start()
    BEGUN.wait(240)
    import sys

    assert thread.ident is not None
    assert "test_mistakes_running.py" in place_of(sys._current_frames()[thread.ident])
    RELEASED.set()
    thread.join()
    assert place_of(None) == ""


NESTED = [(parent, 1), (parent, 2), (thread, 1)]


@pytest.mark.parametrize(("waits", "places"), NESTED, ids=["in the loop", "two of them", "in threads"])
async def test_places_that_all_wait_for_runs_without_a_place_are_told_of_once(
    waits: Task[..., Any], places: int, dsn: str
) -> None:
    every = (parent, thread, gives_in_thread, gives_an_object)
    settings: dict[str, Any] = {
        "concurrency": places,
        "threads": places,
        "poll_interval": "100ms",
        "grace": "100ms",
    }
    async with working(dsn, *every, **settings) as here:
        run = await here.worker.client.enqueue(parent.item(places - 1) if waits is parent else waits.item())
        told = await here.wait_for(PlacesWait)
        assert (told.places, told.task) == (places, waits.name)
        waited = await here.worker.client.get(told.waits_for)
        assert (await run.status(), waited.status) == ("running", "queued" if places == 1 else ANY)
        look = here.worker._watches[0 if waits is parent else 1]
        assert await look.once(), "it still stands"
        assert len(here.heard(PlacesWait)) == 1


async def test_a_run_that_another_worker_may_take_is_waited_for_in_silence(dsn: str) -> None:
    async with working(dsn, waits_elsewhere, wants_a_number, concurrency=1, queues=["default"]) as here:
        run = await here.worker.client.enqueue(waits_elsewhere.item())
        look = here.worker._watches[0]
        await eventually(look._all_wait, what="the only place waits")
        assert await look.once() is None
        async with working(dsn, wants_a_number, queues=["elsewhere"]):
            await run.result("60s")
            assert not here.heard(PlacesWait)


async def test_a_task_that_swallows_its_cancellation_is_named_at_shutdown(dsn: str) -> None:
    async with working(dsn, swallows, grace="0.1s") as here:
        run = await here.worker.client.enqueue(swallows.item())
        await asyncio.to_thread(BEGUN.wait, 60)
        await here.stopped()
        told = here.heard(AttemptAbandoned)
    assert SWALLOWED.is_set()
    assert [(one.task, one.run_id) for one in told] == [("run.swallows", run.id)]


async def test_a_thread_that_does_not_end_is_named_with_the_reason(dsn: str) -> None:
    async with working(dsn, deaf) as here:
        run = await here.worker.client.enqueue(deaf.item())
        with pytest.raises(RunFailed, match="longer than its timeout"):
            await run.result("60s")
        told = await here.wait_for(ThreadAbandoned)
        assert (told.task, told.run_id, told.why) == ("run.deaf", run.id, "timeout")
        RELEASED.set()
