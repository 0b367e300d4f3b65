"""What a task logs by the standard library is kept with its run, and with no other."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import structlog

from openqueue import Batch, Context, InvalidOption, Run, RunStarted, Worker, subscribe, task
from openqueue.tasks import captured
from openqueue.tasks.runlog import MOST_LINES
from openqueue.testing import OpenQueue
from openqueue.testing.portal import Portal
from openqueue.worker import subscribers
from openqueue.worker.storing import journal as journals
from tests.support import process_tasks

logger = logging.getLogger("shop.mail")


@pytest.fixture(autouse=True)
def _levels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a worker: the root lets info through."""
    before = logging.root.level
    logging.root.setLevel(logging.INFO)
    yield
    logging.root.setLevel(before)
    assert not [one for one in logging.root.handlers if isinstance(one, captured.Captured)]


@task(name="captured.speak")
async def speak(words: list[str]) -> None:
    for word in words:
        logger.info("said %s", word, extra={"word": word})
        await asyncio.sleep(0)


@task(name="captured.in_thread")
def in_thread(word: str) -> None:
    logger.warning("said %s", word)


@task(name="captured.fail", max_attempts=1)
async def fail() -> None:
    try:
        raise ValueError("no route to postgresql://u:hunter2@db/shop")
    except ValueError:
        logger.exception("no connection, token=%s", "abc")
        raise


@task(name="captured.quiet", capture_logs="off")
async def quiet() -> None:
    logger.error("not for the run")


@task(name="captured.loud", capture_logs="debug")
async def loud() -> None:
    logger.debug("in detail")


@asynccontextmanager
async def working(dsn: str, *tasks: Any, **more: Any) -> AsyncIterator[Worker]:
    async with Worker(tasks=tasks, database_url=dsn, **more) as worker:
        yield worker


async def lines(worker: Worker, run: Run[Any] | UUID) -> list[dict[str, Any]]:
    run_id = run if isinstance(run, UUID) else run.id
    return [dict(one.data) for one in await worker.client.events(run_id) if one.event == "log"]


async def messages(worker: Worker, run: Run[Any]) -> list[str]:
    return [line["message"] for line in await lines(worker, run)]


async def test_lines_go_to_the_run_with_level_logger_and_fields(dsn: str) -> None:
    async with working(dsn, speak, in_thread) as worker:
        first = await speak.enqueue(["one", "two"])
        await first.result("120s")
        assert await lines(worker, first) == [
            {
                "level": "info",
                "message": f"said {word}",
                "fields": {"logger": "shop.mail", "word": word},
            }
            for word in ("one", "two")
        ]
        second = await in_thread.enqueue("three")
        await second.result("120s")
        (line,) = await lines(worker, second)
        assert (line["level"], line["message"]) == ("warning", "said three")


async def test_runs_that_take_turns_at_a_place_do_not_hear_each_other(dsn: str) -> None:
    async with working(dsn, speak, in_thread, concurrency=3, threads=2) as worker:
        runs = [
            (await (speak.enqueue([str(n)]) if n % 2 else in_thread.enqueue(str(n))), [f"said {n}"])
            for n in range(40)
        ]
        for run, expected in runs:
            await run.result("120s")
            assert await messages(worker, run) == expected


async def test_an_exception_is_kept_with_its_traceback_and_without_secrets(dsn: str) -> None:
    async with working(dsn, fail) as worker:
        run = await fail.enqueue()
        with pytest.raises(Exception, match="no route"):
            await run.result("120s")
        (line,) = await lines(worker, run)
    assert line["message"] == "no connection, token=***"
    assert line["fields"]["exception"].startswith("Traceback")
    assert "ValueError: no route to postgresql://u:***@db/shop" in line["fields"]["exception"]
    assert "hunter2" not in str(line)


async def test_a_task_chooses_its_level_or_none(dsn: str) -> None:
    logging.root.setLevel(logging.DEBUG)
    async with working(dsn, quiet, loud, speak, capture_logs="warning") as worker:
        runs = [await quiet.enqueue(), await loud.enqueue(), await speak.enqueue(["x"])]
        for run in runs:
            await run.result("120s")
        assert [await messages(worker, run) for run in runs] == [[], ["in detail"], []]


async def test_nothing_is_installed_where_no_task_wants_it(dsn: str) -> None:
    async with working(dsn, quiet):
        assert not [one for one in logging.root.handlers if isinstance(one, captured.Captured)]
    with pytest.raises(InvalidOption, match=r"capture_logs: .*must be 'off' or 'debug'"):
        task(capture_logs="all")(lambda: None)  # type: ignore[call-overload]


async def test_what_an_attempt_leaves_running_belongs_to_no_other_run(dsn: str) -> None:
    go, gone = asyncio.Event(), asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def stray() -> None:
        logger.info("while it runs")
        go.set()
        await gone.wait()
        logger.info("after its end")

    @task(name="captured.leave")
    async def leave() -> None:
        left.append(asyncio.create_task(stray()))
        await go.wait()

    @task(name="captured.next")
    async def follow() -> None:
        gone.set()
        await left[0]
        logger.info("its own")

    async with working(dsn, leave, follow, concurrency=1) as worker:
        first = await leave.enqueue()
        second = await follow.enqueue()
        await second.result("120s")
        assert await messages(worker, first) == ["while it runs"]
        assert await messages(worker, second) == ["its own"]


async def test_a_thread_that_was_left_behind_speaks_for_no_other_run(dsn: str) -> None:
    ended, said = threading.Event(), threading.Event()

    @task(name="captured.stuck", timeout="50ms", max_attempts=1)
    def stuck() -> None:
        ended.wait(120)
        logger.info("far too late")
        said.set()

    @task(name="captured.after")
    async def after() -> None:
        ended.set()
        await asyncio.to_thread(said.wait, 120)
        logger.info("its own")

    async with working(dsn, stuck, after, concurrency=1, threads=1) as worker:
        first = await stuck.enqueue()
        with pytest.raises(Exception, match="timeout"):
            await first.result("120s")
        second = await after.enqueue()
        await second.result("120s")
        assert await messages(worker, first) == []
        assert await messages(worker, second) == ["its own"]


async def test_what_the_queue_itself_says_is_not_the_tasks(dsn: str) -> None:
    @task(name="captured.foreign")
    async def foreign() -> None:
        for name in ("openqueue", "openqueue.events", "asyncpg.pool", "openqueue_shop"):
            logging.getLogger(name).warning("by %s", name)

    logging.root.setLevel(logging.DEBUG)
    async with working(dsn, foreign, log_level="debug", capture_logs="debug") as worker:
        run = await foreign.enqueue()
        await run.result("120s")
        assert await messages(worker, run) == ["by openqueue_shop"]


async def test_a_subscriber_does_not_speak_for_the_run_that_it_is_told_of(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "_subscriptions", [])
    heard = asyncio.Event()

    async def hear(event: RunStarted) -> None:
        logger.info("told of %s", event.task)
        heard.set()

    @task(name="captured.watched")
    async def watched() -> None:
        await heard.wait()
        logger.info("its own")

    stop = subscribe(RunStarted, hear)
    async with working(dsn, watched) as worker:
        run = await watched.enqueue()
        await run.result("120s")
        assert await messages(worker, run) == ["its own"]
    stop()


async def test_every_run_of_a_call_has_its_lines(dsn: str) -> None:
    @task(name="captured.many", batch=Batch(size=3, wait="30s"))
    async def many(items: list[int], *, ctx: Context = Context.injected) -> list[int]:
        logger.info("called with %d", len(items))
        ctx.items[0].log.info("the first")
        return items

    async with working(dsn, many) as worker:
        runs = await worker.client.enqueue_many([many.item(n) for n in range(3)])
        for run in runs:
            await run.result("120s")
        said = sorted([await messages(worker, run) for run in runs])
    assert said == [["called with 3"], ["called with 3"], ["called with 3", "the first"]]


async def test_both_ways_of_logging_share_a_bound_and_it_is_said_how_many_were_dropped(dsn: str) -> None:
    @task(name="captured.flood")
    async def flood(*, ctx: Context = Context.injected) -> None:
        for number in range(MOST_LINES // 2 + 10):
            logger.info("line %d", number)
            ctx.log.info("line", number=number)

    async with working(dsn, flood) as worker:
        run = await flood.enqueue()
        await run.result("120s")
        found = await lines(worker, run)
    assert len(found) == MOST_LINES + 1
    assert found[-1]["message"] == "the log is full: lines after the 1,000th are dropped"
    assert found[-1]["fields"] == {"dropped": 20}


async def test_a_line_for_structlog_is_taken_apart(dsn: str) -> None:
    @task(name="captured.structured")
    async def structured() -> None:
        wrapped = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
        fine = structlog.wrap_logger(logger, processors=[wrapped], wrapper_class=structlog.stdlib.BoundLogger)
        fine.info("sent", to="a@b.c")

    async with working(dsn, structured) as worker:
        run = await structured.enqueue()
        await run.result("120s")
        (line,) = await lines(worker, run)
    assert (line["message"], line["fields"]) == ("sent", {"logger": "shop.mail", "to": "a@b.c"})


async def test_a_line_that_cannot_be_written_down_does_not_fail_the_task(dsn: str) -> None:
    class Wicked:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    @task(name="captured.wicked")
    async def wicked() -> None:
        logging.getLogger("silent.wicked").info("%d and %s", "no number", Wicked(), extra={"it": Wicked()})

    silent = logging.getLogger("silent")
    silent.addFilter(lambda _: True)
    for handler in (handlers := logging.root.handlers[:]):
        logging.root.removeHandler(handler)
    try:
        async with working(dsn, wicked) as worker:
            run = await wicked.enqueue()
            await run.result("120s")
            (line,) = await lines(worker, run)
    finally:
        for handler in handlers:
            logging.root.addHandler(handler)
    assert line["message"].startswith("%d and %s")
    assert (
        line["fields"]["it"]
        == "<test_a_line_that_cannot_be_written_down_does_not_fail_the_task.<locals>.Wicked>"
    )


async def test_a_task_in_a_process_speaks_for_its_run(dsn: str) -> None:
    async with working(dsn, process_tasks.log_by_hand, process_tasks.log_quietly) as worker:
        run = await process_tasks.log_by_hand.enqueue(30)
        silent = await process_tasks.log_quietly.enqueue()
        await run.result("120s")
        await silent.result("120s")
        found = await lines(worker, run)
        assert await messages(worker, silent) == []
    assert [one["level"] for one in found[:2]] == ["warning", "info"]
    assert found[0]["fields"] == {"logger": "process", "n": 0}
    assert len(found) == MOST_LINES + 1
    assert found[-1]["fields"] == {"dropped": 30}


async def test_a_test_that_drains_finds_them_too(dsn: str) -> None:
    queue = OpenQueue(dsn, portal := Portal())
    with queue.in_use():
        run = await speak.enqueue(["one"])
        await queue.drain()
        (line,) = [one.data for one in await run.events() if one.event == "log"]
    portal.close()
    assert line["message"] == "said one"


async def test_the_programs_own_logging_stays_as_it_is(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    root = (logging.root.level, logging.root.filters[:])
    async with working(dsn, in_thread) as first, working(dsn, speak):
        assert len(logging.root.handlers) == 1
        logger.warning("outside of tasks")
        run = await in_thread.enqueue("this")
        await run.result("120s")
        assert await messages(first, run) == ["said this"]
    assert logging.root.handlers == []
    assert (logging.root.level, logging.root.filters) == root
    assert capsys.readouterr().err.splitlines() == ["outside of tasks", "said this"]


def test_the_collector_may_let_somebody_speak_while_a_line_is_kept() -> None:
    journal = journals.RunJournal()
    with journal._lock:
        job: Any = type("Said", (), {"finished_at": 0.0, "lost": False, "lines": None})()
        journal.open_log(job).info("from __del__")
    assert len(journal) == 1


async def test_what_a_run_has_left_behind_in_a_process_speaks_for_no_other(dsn: str) -> None:
    async with working(dsn, process_tasks.leave_behind, process_tasks.next_one) as worker:
        run = await process_tasks.leave_behind.enqueue()
        await run.result("120s")
        other = await process_tasks.next_one.enqueue()
        assert await other.result("120s")  # it was said while the other ran
        assert await messages(worker, other) == []
        assert await messages(worker, run) == []
