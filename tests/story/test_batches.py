"""Tasks with `batch=`: one call for many runs, each with an outcome, attempts and a log of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from openqueue import (
    Batch,
    CallNext,
    Cancelled,
    Context,
    GiveUp,
    Run,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunStarted,
    Snooze,
    Worker,
    connect,
    enqueue_many,
    task,
)
from openqueue.app import open_worker
from openqueue.events import Events
from openqueue.settings import load_settings
from openqueue.tasks.registry import Registry
from openqueue.testing import OpenQueue
from openqueue.testing.portal import Portal
from openqueue.worker.events import JobsReleased, RunFinished, WorkerDraining
from openqueue.worker.job import Job
from tests.support.deadlines import deadlines_pass
from tests.support.eventually import eventually
from tests.support.worker_here import working as working_here

calls: list[list[Any]] = []
entered: list[list[int]] = []
leave: asyncio.Event


@pytest.fixture(autouse=True)
def _empty() -> None:
    global leave  # noqa: PLW0603  what the tasks of this file and its tests share
    calls.clear()
    entered.clear()
    leave = asyncio.Event()


@dataclass
class Doc:
    number: int
    text: str = ""


@task(name="batches.index", batch=Batch(size=3, wait="1m"))
async def index(docs: list[Doc]) -> list[str]:
    calls.append(sorted(doc.number for doc in docs))
    return [f"indexed {doc.number}" for doc in docs]


@task(name="batches.brief", batch=Batch(size=3, wait="2s"))
async def brief(docs: list[Doc]) -> list[str]:
    calls.append(sorted(doc.number for doc in docs))
    return [f"indexed {doc.number}" for doc in docs]


@task(name="batches.soon", batch=Batch(size=100, wait="50ms"), max_attempts=2, backoff="10ms")
async def soon(numbers: list[int]) -> list[int]:
    calls.append(numbers)
    return [number * 2 for number in numbers]


@task(name="batches.in_thread", batch=Batch(size=3, wait="1m"))
def in_thread(numbers: list[int]) -> list[str]:
    calls.append(numbers)
    return [f"{number} in {threading.current_thread().name.rpartition('-')[0]}" for number in numbers]


WAYS: dict[str, Any] = {
    "value": "a value",
    "error": ValueError("bad luck"),
    "give up": GiveUp("enough"),
    "snooze": Snooze("1h"),
    "cancelled": Cancelled("no need"),
    "unstorable": object(),
}


@task(name="batches.ways", batch=Batch(size=len(WAYS), wait="1m"), max_attempts=3, backoff="1h")
async def ways(names: list[str]) -> list[Any]:
    return [WAYS[name] for name in names]


@task(name="batches.wrong", batch=Batch(size=2, wait="1m"), max_attempts=1)
async def wrong(answers: list[str]) -> list[Any]:
    if answers[0] == "raise":
        raise ConnectionError("the index is away")
    answer: Any = {"short": [1], "long": [1, 2, 3], "none": None, "text": "ab", "dict": {"a": 1, "b": 2}}
    return answer[answers[0]]  # type: ignore[no-any-return]


@task(name="batches.no_answer", batch=Batch(size=2, wait="1m"))
async def no_answer(numbers: list[int]) -> None:
    calls.append(numbers)


@task(name="batches.held", batch=Batch(size=3, wait="1m"), max_attempts=3, backoff="10ms")
async def held(numbers: list[int], *, ctx: Context = Context.injected) -> list[int]:
    entered.append(sorted(numbers))
    try:
        await leave.wait()
    except asyncio.CancelledError:
        calls.append(["interrupted", *sorted(numbers)])
        raise
    calls.append([number for number, item in zip(numbers, ctx.items, strict=True) if item.cancelled])
    return numbers


@task(name="batches.late", batch=Batch(size=2, wait="1m"), timeout="100ms", max_attempts=1)
async def late(numbers: list[int]) -> list[int]:
    await asyncio.Event().wait()
    return numbers


@task(name="batches.telling", batch=Batch(size=2, wait="1m"))
async def telling(ctx: Context, numbers: list[int]) -> list[dict[str, Any]]:
    ctx.log.info("for all")
    ctx.progress({"all": len(ctx.items)})
    for number, item in zip(numbers, ctx.items, strict=True):
        item.log.info("for one", number=number)
        item.progress({"one": number})
    return [{"run": str(item.run_id), "attempt": item.attempt, "meta": dict(item.meta)} for item in ctx.items]


@asynccontextmanager
async def working(dsn: str, *tasks: Any, **more: Any) -> AsyncIterator[Worker]:
    async with Worker(tasks=tasks, database_url=dsn, **more) as worker:
        yield worker


def held_by(worker: Worker) -> list[Job]:
    assert worker._running is not None
    return worker._running._places.held()


async def results(runs: list[Run[Any]]) -> list[Any]:
    return [await run.result("60s") for run in runs]


async def statuses(runs: list[Run[Any]]) -> list[str]:
    return [await run.status() for run in runs]


async def test_as_many_as_fit_are_one_call_and_each_gets_its_own_result(dsn: str) -> None:
    async with working(dsn, index):
        runs = await enqueue_many(index.item(Doc(n)) for n in range(6))
        assert await results(runs) == [f"indexed {n}" for n in range(6)]
    assert [len(one) for one in calls] == [3, 3]
    assert sorted([*calls[0], *calls[1]]) == list(range(6))


async def test_the_first_one_waits_for_company_only_so_long(dsn: str) -> None:
    async with working(dsn, soon):
        runs = await enqueue_many(soon.item(n) for n in range(2))
        assert await results(runs) == [0, 2]
        assert await (await soon.enqueue(7)).result("60s") == 14
    assert sorted(number for one in calls for number in one) == [0, 1, 7]
    assert calls[-1] == [7]


async def test_who_comes_while_others_wait_joins_them(dsn: str) -> None:
    async with working(dsn, index) as worker:
        first = await index.enqueue(Doc(1))
        await eventually(lambda: len(held_by(worker)) == 1)
        runs = [first, await index.enqueue(Doc(2)), await index.enqueue(Doc(3))]
        await results(runs)
    assert calls == [[1, 2, 3]]


async def test_each_element_is_the_end_of_its_own_run(dsn: str) -> None:
    async with working(dsn, ways):
        runs = await enqueue_many(ways.item(name) for name in WAYS)
        assert await runs[0].result("60s") == "a value"
        await eventually(lambda: said(runs), what="the last outcome")
        infos = [await run.info() for run in runs]
    found = {name: info.status for name, info in zip(WAYS, infos, strict=True)}
    assert found == {
        "value": "completed",
        "error": "retrying",
        "give up": "failed",
        "snooze": "scheduled",
        "cancelled": "cancelled",
        "unstorable": "retrying",
    }
    assert [info.attempt for info in infos] == [1, 1, 1, 0, 1, 1]
    assert (infos[1].error or {})["message"] == "bad luck"
    assert "output" in (infos[5].error or {})["message"]


async def said(runs: list[Run[Any]]) -> bool:
    return not {"queued", "running"} & set(await statuses(runs))


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("short", "a list of 2 results, one for each in the same order, and not 1."),
        ("long", "a list of 2 results, one for each in the same order, and not 3."),
        ("none", "and not NoneType."),
        ("text", "and not str."),
        ("dict", "and not dict."),
        ("raise", "the index is away"),
    ],
)
async def test_a_call_that_does_not_answer_for_each_fails_all_of_them(dsn: str, how: str, error: str) -> None:
    async with working(dsn, wrong):
        runs = await enqueue_many([wrong.item(how), wrong.item(how)])
        for run in runs:
            with pytest.raises(RunFailed) as caught:
                await run.result("60s")
            assert error in caught.value.error["message"]
            assert "the call was for 2 runs" in caught.value.error["traceback"]


async def test_a_function_that_returns_nothing_has_completed_all(dsn: str) -> None:
    async with working(dsn, no_answer):
        runs = await enqueue_many(no_answer.item(n) for n in range(2))
        assert await results(runs) == [None, None]


async def test_attempts_are_each_runs_own_and_a_retry_joins_another_call(dsn: str) -> None:
    """The second one comes when the first has failed once: they go together, as attempts 2 and 1."""
    seen: list[dict[int, int]] = []

    @task(name="batches.again", batch=Batch(2, "1m"), max_attempts=2, backoff="0s")
    async def again(numbers: list[int], *, ctx: Context = Context.injected) -> list[Any]:
        seen.append({number: item.attempt for number, item in zip(numbers, ctx.items, strict=True)})
        return [ValueError(number) if number == 0 else number for number in numbers]

    async with working(dsn, again):
        runs = await enqueue_many(again.item(n) for n in range(2))
        assert await runs[1].result("60s") == 1
        runs.append(await again.enqueue(2))
        assert await runs[2].result("60s") == 2
        with pytest.raises(RunFailed):
            await runs[0].result("60s")
        assert [(await run.info()).attempt for run in runs] == [2, 1, 1]
    assert seen == [{0: 1, 1: 1}, {0: 2, 2: 1}]


async def test_an_input_that_does_not_fit_fails_alone(dsn: str, db: asyncpg.Connection) -> None:
    names = [index.name] * 3
    inputs = ['{"docs": {"number": 1}}', '{"docs": {"number": "one"}}', '{"docs": {"number": 3}}']
    jobs = [f'{{"task": "{name}", "payload": {text}}}' for name, text in zip(names, inputs, strict=True)]
    rows = await db.fetch("SELECT * FROM openqueue.add_jobs($1::jsonb[])", jobs)
    ids: list[UUID] = [row["id"] for row in rows]
    async with working(dsn, index) as worker:
        with pytest.raises(RunFailed) as caught:
            await worker.client.result(ids[1], timeout="60s")
        assert [await worker.client.result(ids[n], timeout="60s") for n in (0, 2)] == [
            "indexed 1",
            "indexed 3",
        ]
    assert "`docs.number`" in caught.value.error["message"]
    assert calls == [[1, 3]]


async def test_a_call_that_takes_too_long_has_timed_out_for_all(dsn: str) -> None:
    async with working(dsn, late):
        for run in await enqueue_many(late.item(n) for n in range(2)):
            with pytest.raises(RunFailed) as caught:
                await run.result("60s")
            assert "took longer than its timeout of 0.1 s" in caught.value.error["message"]


async def test_one_that_is_cancelled_ends_so_when_the_call_returns(dsn: str) -> None:
    async with working(dsn, held) as worker:
        runs = await enqueue_many(held.item(n) for n in range(3))
        await eventually(lambda: entered)
        assert await runs[1].cancel() == "cancelling"
        await eventually(lambda: any(job.asked == "cancel" for job in held_by(worker)), what="told")
        leave.set()
        assert [await runs[n].result("60s") for n in (0, 2)] == [0, 2]
        with pytest.raises(RunCancelled):
            await runs[1].result("60s")
    assert calls == [[1]], "its flag was set, the others' were not, and the call was not interrupted"


async def test_a_call_of_which_each_run_is_cancelled_is_interrupted(dsn: str) -> None:
    async with working(dsn, held):
        runs = await enqueue_many(held.item(n) for n in range(3))
        await eventually(lambda: entered)
        for run in runs:
            await run.cancel()
        for run in runs:
            with pytest.raises(RunCancelled):
                await run.result("60s")
        after = await enqueue_many(held.item(n) for n in range(3, 6))
        leave.set()
        assert await results(after) == [3, 4, 5]
    assert calls == [["interrupted", 0, 1, 2], []]


async def test_one_that_waits_for_company_is_cancelled_at_once(dsn: str) -> None:
    async with working(dsn, index) as worker:
        run = await index.enqueue(Doc(1))
        await eventually(lambda: len(held_by(worker)) == 1)
        await run.cancel()
        with pytest.raises(RunCancelled):
            await run.result("60s")
        runs = await enqueue_many(index.item(Doc(n)) for n in range(3))
        await results(runs)
    assert calls == [[0, 1, 2]]


async def test_a_function_that_blocks_is_called_in_a_thread(dsn: str) -> None:
    async with working(dsn, in_thread):
        runs = await enqueue_many(in_thread.item(n) for n in range(3))
        assert await results(runs) == [f"{n} in openqueue-task" for n in range(3)]
    assert [sorted(one) for one in calls] == [[0, 1, 2]]


async def test_what_the_call_says_is_said_of_each_and_an_item_speaks_for_itself(dsn: str) -> None:
    async with working(dsn, telling):
        items = [telling.options(meta={"tenant": n}).item(n) for n in range(2)]
        runs = await enqueue_many(items)
        told = await results(runs)
        for n, run in enumerate(runs):
            assert told[n] == {"run": str(run.id), "attempt": 1, "meta": {"tenant": n}}
            assert (await run.info()).progress == {"all": 2, "one": n}
            logged = [event.data for event in await run.events() if event.event == "log"]
            assert [(one["message"], one.get("fields")) for one in logged] == [
                ("for all", None),
                ("for one", {"number": n}),
            ]


async def test_middleware_goes_around_the_call(dsn: str) -> None:
    seen: list[Any] = []

    async def around(ctx: Context, call_next: CallNext) -> Any:
        seen.append({str(item.run_id) for item in ctx.items})
        return [f"{one}!" for one in await call_next()]

    async with working(dsn, index, middleware=[around]):
        runs = await enqueue_many(index.item(Doc(n)) for n in range(3))
        assert await results(runs) == [f"indexed {n}!" for n in range(3)]
    assert seen == [{str(run.id) for run in runs}]


async def test_subscribers_hear_of_each_run(dsn: str) -> None:
    bus = Events()
    began: list[UUID] = []
    ended: list[tuple[UUID, str]] = []
    bus.subscribe(RunStarted, lambda event: began.append(event.run_id))
    bus.subscribe(RunFinished, lambda event: ended.append((event.run_id, event.outcome)))
    async with working(dsn, index, events=bus):
        runs = await enqueue_many(index.item(Doc(n)) for n in range(3))
        await results(runs)
        await eventually(lambda: len(ended) == 3)
    ids = {run.id for run in runs}
    assert (len(began), set(began)) == (3, ids)
    assert (len(ended), set(ended)) == (3, {(one, "completed") for one in ids})


async def test_a_call_takes_one_place_and_what_is_not_a_batch_shares_them(dsn: str) -> None:
    @task(name="batches.plain")
    async def plain() -> str:
        entered.append([-1])
        await leave.wait()
        return "plain"

    async with working(dsn, held, plain, concurrency=2) as worker:
        runs = await enqueue_many(held.item(n) for n in range(3))
        await eventually(lambda: entered == [[0, 1, 2]])
        one = await plain.enqueue()
        await eventually(lambda: [-1] in entered)
        running = worker._running
        assert running is not None
        assert running._places.count() == 2
        assert len(running._running()) == 4
        other = await plain.enqueue()
        leave.set()
        assert await results([*runs, one, other]) == [0, 1, 2, "plain", "plain"]


async def test_all_items_of_a_call_show_as_running(dsn: str) -> None:
    async with working(dsn, held):
        runs = await enqueue_many(held.item(n) for n in range(3))

        async def all_run() -> bool:
            return await statuses(runs) == ["running"] * 3

        await eventually(all_run)
        leave.set()
        assert await results(runs) == [0, 1, 2]


async def test_at_the_end_calls_are_finished_and_what_waits_for_company_goes_back(dsn: str) -> None:
    released: list[int] = []
    bus = Events()
    bus.subscribe(JobsReleased, lambda event: released.append(event.jobs))
    async with connect(dsn) as client:
        async with working(dsn, held, index, events=bus) as worker:
            runs = [await client.enqueue(held.item(n)) for n in range(3)]
            waits = [await client.enqueue(index.item(Doc(n))) for n in range(2)]
            await eventually(lambda: entered)
            await eventually(lambda: len(held_by(worker)) == 5)
            bus.subscribe(WorkerDraining, lambda _: leave.set())
        assert await statuses(runs) == ["completed"] * 3
        assert await statuses(waits) == ["queued", "queued"]
        assert [(await run.info()).attempt for run in waits] == [0, 0]
    assert sum(released) == 2


async def test_a_call_that_outlasts_the_grace_is_interrupted_and_goes_back_uncounted(dsn: str) -> None:
    async with connect(dsn) as client:
        async with working(dsn, held, grace="0s"):
            runs = [await client.enqueue(held.item(n)) for n in range(3)]
            await eventually(lambda: entered)
        infos = [await run.info() for run in runs]
        assert [(info.status, info.attempt) for info in infos] == [("queued", 0)] * 3
    assert calls == [["interrupted", 0, 1, 2]]


async def test_to_drain_is_to_call_for_those_that_are_left_too(dsn: str) -> None:
    settings = load_settings(database_url=dsn, dirs=(), health="off")
    async with connect(dsn) as client:
        runs = await client.enqueue_many(soon.item(n) for n in range(150))
        async with open_worker(settings, registry=Registry([soon])) as worker:
            await worker.drain()
        assert await results(runs) == [n * 2 for n in range(150)]
    assert sum(map(len, calls)) == 150
    assert max(map(len, calls)) <= 100
    assert len(calls) < 20


async def test_a_deadline_that_passes_while_the_run_waits_for_company_holds(dsn: str) -> None:
    """Where the worker comes only after nine seconds, they pass before it: then nobody waits for these."""
    async with connect(dsn) as client:
        near = brief.options(deadline="9s")
        runs = await client.enqueue_many([near.item(Doc(1)), brief.item(Doc(2)), near.item(Doc(3))])
        async with working_here(dsn, brief, prepare=deadlines_pass):
            assert await runs[1].result("60s") == "indexed 2"
            for run in (runs[0], runs[2]):
                with pytest.raises(RunExpired):
                    await run.result("60s")
    assert calls == [[2]]


@pytest.fixture
def queue(dsn: str) -> Iterator[OpenQueue]:
    portal = Portal()
    try:
        made = OpenQueue(dsn, portal)
        with made.in_use():
            yield made
    finally:
        portal.close()


async def test_drain_calls_with_what_is_ready_and_waits_for_nobody(queue: OpenQueue) -> None:
    await enqueue_many(index.item(Doc(n)) for n in range(4))
    ran = await queue.drain()
    assert calls == [[0, 1, 2], [3]]
    assert [one.output for one in ran] == [f"indexed {n}" for n in range(4)]


async def test_drain_has_the_error_of_each(queue: OpenQueue) -> None:
    await enqueue_many(ways.item(name) for name in WAYS)
    ran = await queue.drain(raises=False)
    assert [one.outcome for one in ran] == ["completed", "retry", "failed", "snoozed", "cancelled", "retry"]
    assert ran[1].error is WAYS["error"]
    assert ran[2].error is WAYS["give up"]
    assert len(ran.errors) == 3


async def test_inline_is_a_call_with_one_item(queue: OpenQueue) -> None:
    with queue.inline():
        run = await index.enqueue(Doc(5))
    assert await run.result("60s") == "indexed 5"
    assert await index([Doc(1)]) == ["indexed 1"], "called directly, it is the function"
