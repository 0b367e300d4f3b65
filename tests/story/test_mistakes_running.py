"""Mistakes that show when a task runs: what it gives back, what it waits for, what it swallows."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from openqueue import task
from openqueue.errors import RunExpired, RunFailed
from openqueue.events import Events
from openqueue.telemetry.logs import LINES, Logs
from openqueue.worker.events import AttemptAbandoned, LoopBlocked, LoopFreed, ThreadAbandoned
from openqueue.worker.watchdog import place_of
from tests.story.mistakes import Mistake, check
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
    time.sleep(1.8)  # noqa: ASYNC251  the mistake itself


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
    RELEASED.wait(20)


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
            await run.result("20s")
    check(str(caught.value), mistake)


async def test_a_run_whose_deadline_has_passed_expires_and_says_so(dsn: str) -> None:
    async with working(dsn, wants_a_number) as here:
        run = await here.worker.client.enqueue(
            "run.wants", {"number": 1}, deadline=LONG_AGO, allow_unknown=True
        )
        with pytest.raises(RunExpired, match="deadline"):
            await run.result("20s")


async def test_a_task_that_blocks_the_event_loop_is_named_with_the_line_and_how_long_while_it_lasts(
    dsn: str,
) -> None:
    async with working(dsn, blocks) as here:
        run = await here.worker.client.enqueue(blocks.item())
        await run.result("30s")
        blocked = await here.wait_for(LoopBlocked)
        freed = await here.wait_for(LoopFreed)
    assert (blocked.task, blocked.run_id) == ("run.blocks", run.id)
    assert 1 <= blocked.seconds < freed.seconds
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
        RELEASED.wait(20)

    thread = threading.Thread(target=wait)
    thread.start()
    BEGUN.wait(10)
    import sys

    assert thread.ident is not None
    assert "test_mistakes_running.py" in place_of(sys._current_frames()[thread.ident])
    RELEASED.set()
    thread.join()
    assert place_of(None) == ""


async def test_a_task_that_swallows_its_cancellation_is_named_at_shutdown(dsn: str) -> None:
    async with working(dsn, swallows, grace="0.1s") as here:
        run = await here.worker.client.enqueue(swallows.item())
        await asyncio.to_thread(BEGUN.wait, 20)
        await here.stopped()
        told = here.heard(AttemptAbandoned)
    assert SWALLOWED.is_set()
    assert [(one.task, one.run_id) for one in told] == [("run.swallows", run.id)]


async def test_a_thread_that_does_not_end_is_named_with_the_reason(dsn: str) -> None:
    async with working(dsn, deaf) as here:
        run = await here.worker.client.enqueue(deaf.item())
        with pytest.raises(RunFailed, match="longer than its timeout"):
            await run.result("20s")
        told = await here.wait_for(ThreadAbandoned)
        assert (told.task, told.run_id, told.why) == ("run.deaf", run.id, "timeout")
        RELEASED.set()
