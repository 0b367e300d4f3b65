"""Traces: one from the enqueue to every attempt, across processes; and nothing of it while it is off."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import openqueue
from openqueue import Batch, Cancelled, Context, GiveUp, Snooze, task
from openqueue.clients import open_client
from openqueue.settings import load_settings
from openqueue.tasks.carrier import CARRIER
from tests.support.command import Command
from tests.support.eventually import PATIENCE, eventually
from tests.support.worker_here import working

told: list[Any] = []


@task(name="post.send", queue="mail", max_attempts=2, backoff="1ms", meta={"team": "post"})
async def send(to: str, *, ctx: Context = Context.injected) -> str:
    told.append((ctx.carrier, dict(ctx.meta)))
    with trace.get_tracer("the program").start_as_current_span("smtp"):
        pass
    if ctx.attempt == 1 and to == "later":
        raise Snooze("1ms")
    if to == "stop":
        raise Cancelled("nobody wants it any more")
    if to == "nobody":
        raise GiveUp("there is no such address")
    if ctx.attempt == 1 and to == "again":
        raise ValueError("the provider says no")
    return to


class Unspeakable(GiveUp):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@task(name="post.strange")
async def strange() -> None:
    raise Unspeakable


@task(name="post.thread")
def thread() -> None:
    with trace.get_tracer("the program").start_as_current_span("in a thread"):
        pass


@task(name="post.parent")
async def parent() -> None:
    await send.enqueue("a child")


@task(name="post.wait", timeout="100ms", max_attempts=1)
async def wait_too_long() -> None:
    await asyncio.Event().wait()


@task(name="post.stay")
async def stay() -> None:
    await asyncio.Event().wait()


@task(name="post.unstorable", max_attempts=1)
async def unstorable() -> Any:
    return {"here": object()}


@task(name="post.some", batch=Batch(size=4, wait="60s"), max_attempts=1)
async def some(numbers: list[int]) -> list[Any]:
    return [n if n % 2 else ValueError(f"{n} is even") for n in numbers]


@task(name="post.many", batch=Batch(size=10, wait="50ms"))
async def many(numbers: list[int]) -> list[int]:
    return numbers


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """A process has one provider."""
    exporting = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporting))
    trace.set_tracer_provider(provider)
    return exporting


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    told.clear()
    yield exporter
    exporter.clear()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [one for one in spans.get_finished_spans() if one.name == name]


def one(spans: InMemorySpanExporter, name: str) -> Any:
    (found,) = named(spans, name)
    return found


def is_child(child: Any, of: Any) -> bool:
    return bool(
        child.parent is not None
        and child.parent.span_id == of.context.span_id
        and child.context.trace_id == of.context.trace_id
    )


async def test_an_attempt_is_a_child_of_its_enqueue_and_what_the_task_does_of_the_attempt(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    async with working(dsn, send, tracing=True) as here:
        run = await here.worker.client.enqueue(send.item("a@b.c"))
        await run.result("120s")
    enqueue, attempt, inner = (one(spans, name) for name in ("enqueue post.send", "run post.send", "smtp"))
    assert is_child(attempt, enqueue)
    assert is_child(inner, attempt)
    assert (enqueue.kind, attempt.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert enqueue.attributes == {
        "messaging.system": "openqueue",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(run.id),
        "openqueue.task": "post.send",
    }
    assert attempt.attributes == {
        "messaging.system": "openqueue",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(run.id),
        "openqueue.task": "post.send",
        "openqueue.namespace": "default",
        "openqueue.attempt": 1,
        "openqueue.max_attempts": 2,
        "openqueue.outcome": "completed",
    }
    assert attempt.status.status_code is StatusCode.UNSET


async def test_the_context_is_in_a_place_that_is_not_the_users(dsn: str, spans: InMemorySpanExporter) -> None:
    async with working(dsn, send, tracing=True) as here:
        run = await here.worker.client.enqueue(send.options(meta={"tenant": 42}).item("a@b.c"))
        await run.result("120s")
        info = await run.info()
        stored = await here.worker.client.database.fetchval(
            "SELECT meta::text FROM openqueue.run_requests WHERE id = $1", run.id
        )
    assert info.meta == {"team": "post", "tenant": 42}
    ((carrier, meta),) = told
    assert meta == {"team": "post", "tenant": 42}
    assert carrier["traceparent"].split("-")[1] == f"{one(spans, 'run post.send').context.trace_id:032x}"
    assert json.loads(stored)[CARRIER] == carrier


async def test_every_attempt_is_a_span_and_tells_how_it_failed(dsn: str, spans: InMemorySpanExporter) -> None:
    async with working(dsn, send, tracing=True) as here:
        again = await here.worker.client.enqueue(send.item("again"))
        await again.result("120s")
        first, second = named(spans, "run post.send")
        assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
        assert first.status.description == "ValueError: the provider says no"
        assert first.attributes is not None
        assert first.attributes["error.type"] == "ValueError"
        assert [event.name for event in first.events] == ["exception"]
        assert second.attributes is not None
        assert second.attributes["openqueue.attempt"] == 2
        assert first.context.trace_id == second.context.trace_id
        spans.clear()
        nobody = await here.worker.client.enqueue(send.item("nobody"))
        with pytest.raises(openqueue.RunFailed):
            await nobody.result("120s")
        assert one(spans, "run post.send").attributes["error.type"] == "openqueue.tasks.control.GiveUp"


async def test_an_error_that_cannot_be_told_is_still_the_error_of_the_task(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    async with working(dsn, strange, tracing=True) as here:
        run = await here.worker.client.enqueue(strange.item())
        with pytest.raises(openqueue.RunFailed):
            await run.result("120s")
        error = (await run.info()).error
    assert error is not None
    assert error["type"].endswith("Unspeakable")
    assert "retryable" not in error or error["retryable"] is False
    attempt = one(spans, "run post.strange")
    assert attempt.status.status_code is StatusCode.ERROR
    assert attempt.attributes["error.type"].endswith("Unspeakable")


async def test_a_run_that_ends_as_cancelled_is_no_error(dsn: str, spans: InMemorySpanExporter) -> None:
    async with working(dsn, send, tracing=True) as here:
        run = await here.worker.client.enqueue(send.item("stop"))
        with pytest.raises(openqueue.RunCancelled):
            await run.result("120s")
    attempt = one(spans, "run post.send")
    assert attempt.status.status_code is StatusCode.UNSET
    assert attempt.attributes["openqueue.outcome"] == "cancelled"


async def test_an_input_that_does_not_fit_is_a_failed_attempt(dsn: str, spans: InMemorySpanExporter) -> None:
    async with working(dsn, send, tracing=True) as here:
        by_sql = "SELECT openqueue.add_job('post.send', '{\"nobody\": 7}')"
        run = await here.worker.client.database.fetchval(by_sql)
        with pytest.raises(openqueue.RunFailed):
            await here.worker.client.result(run, "120s")
    attempt = one(spans, "run post.send")
    assert attempt.attributes["messaging.message.id"] == str(run)
    assert attempt.status.status_code is StatusCode.ERROR
    assert attempt.attributes["error.type"] == "openqueue.errors.InvalidArguments"
    assert attempt.attributes["openqueue.outcome"] == "failed"


@pytest.mark.parametrize(
    ("strange", "error"),
    [(unstorable, "openqueue.errors.NotSerializable"), (wait_too_long, "openqueue.runs.outcomes.TimedOut")],
)
async def test_what_fails_around_the_task_fails_its_span_and_with_the_error_of_the_run(
    dsn: str, spans: InMemorySpanExporter, strange: Any, error: str
) -> None:
    async with working(dsn, strange, tracing=True) as here:
        run = await here.worker.client.enqueue(strange.item())
        with pytest.raises(openqueue.RunFailed) as failed:
            await run.result("120s")
    attempt = one(spans, f"run {strange.name}")
    assert attempt.attributes["error.type"] == failed.value.error["type"] == error
    assert attempt.status.description == f"{error}: {failed.value.error['message']}"
    (event,) = attempt.events
    assert event.attributes["exception.stacktrace"] == failed.value.error["traceback"]


async def test_what_is_cancelled_or_given_back_is_no_error(dsn: str, spans: InMemorySpanExporter) -> None:
    async with working(dsn, stay, tracing=True, grace="0s") as here:
        first, second = [await here.worker.client.enqueue(stay.item()) for _ in range(2)]
        await eventually(lambda: len(here.worker._places.running()) == 2)
        await first.cancel()
        await eventually(lambda: named(spans, "run post.stay"))
        await here.stopped()
    ends = [dict(span.attributes or {}) for span in named(spans, "run post.stay")]
    assert [(end["messaging.message.id"], end["openqueue.outcome"]) for end in ends] == [
        (str(first.id), "cancelled"),
        (str(second.id), "released"),
    ]
    assert {span.status.status_code for span in named(spans, "run post.stay")} == {StatusCode.UNSET}


async def test_an_attempt_whose_lease_is_lost_says_so(dsn: str, spans: InMemorySpanExporter) -> None:
    async with working(dsn, stay, tracing=True) as here:
        await here.worker.client.enqueue(stay.item())
        await eventually(here.worker._places.running)
        (job,) = here.worker._places.running()
        here.worker._lose(job)
        await eventually(lambda: named(spans, "run post.stay"))
        here.stop.set()
        attempt = named(spans, "run post.stay")[0]
        assert dict(attempt.attributes or {})["openqueue.outcome"] == "lost"
        assert attempt.status.status_code is StatusCode.UNSET
        await here.worker.client.acting.act("cancel", openqueue.RunFilter(task="post.stay"))


async def test_of_a_batch_it_is_told_how_many_have_failed_and_why_whatever_trace_they_come_from(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    elsewhere = {"traceparent": f"00-{7:032x}-{8:016x}-01", "tracestate": "vendor=1"}
    async with working(dsn, some, tracing=True) as here:
        client = here.worker.client
        runs = [run.id for run in await client.enqueue_many([some.item(n) for n in (1, 2)])]
        by_sql = "SELECT openqueue.add_job('post.some', $1::text::jsonb, meta => $2::text::jsonb)"
        for given, meta in (({"numbers": 3}, {"openqueue.trace": elsewhere}), ({"nobody": 7}, {})):
            runs.append(await client.database.fetchval(by_sql, json.dumps(given), json.dumps(meta)))
        for run in runs:
            with contextlib.suppress(openqueue.RunFailed):
                await client.result(run, "120s")
    attempt = one(spans, "run post.some")
    assert [link.context.trace_id for link in attempt.links][1:] == [7]
    assert attempt.attributes["openqueue.outcome"] == "mixed"
    assert attempt.attributes["openqueue.failed"] == 2
    assert {event.attributes["exception.type"] for event in attempt.events} == {
        "ValueError",
        "openqueue.errors.InvalidArguments",
    }


def test_one_run_on_the_callers_connection_is_a_span_as_any_other(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    with openqueue.connect_sync(dsn, tracing=True) as client, psycopg.connect(dsn) as connection:
        run = client.enqueue(send.item("a@b.c"), connection=connection)
        connection.commit()
    attributes = one(spans, "enqueue post.send").attributes
    assert attributes["messaging.message.id"] == str(run.id)


async def test_to_snooze_is_no_error(dsn: str, spans: InMemorySpanExporter) -> None:
    async with working(dsn, send, tracing=True) as here:
        run = await here.worker.client.enqueue(send.item("later"))
        await eventually(lambda: named(spans, "run post.send"))
        await run.cancel()
    first = named(spans, "run post.send")[0]
    assert first.status.status_code is StatusCode.UNSET
    assert dict(first.attributes or {})["openqueue.outcome"] == "snoozed"


async def test_a_task_that_enqueues_goes_on_in_the_same_trace_and_threads_are_part_of_it(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    async with working(dsn, send, parent, thread, tracing=True) as here:
        with trace.get_tracer("the program").start_as_current_span("request") as request:
            first = await here.worker.client.enqueue(parent.item())
            second = await asyncio.to_thread(lambda: here.worker.client.sync.enqueue(thread.item()))
        await first.result("120s")
        await second.result("120s")
        await eventually(lambda: named(spans, "run post.send"))
    assert is_child(one(spans, "enqueue post.send"), one(spans, "run post.parent"))
    assert is_child(one(spans, "run post.send"), one(spans, "enqueue post.send"))
    assert is_child(one(spans, "enqueue post.thread"), one(spans, "request"))
    assert is_child(one(spans, "in a thread"), one(spans, "run post.thread"))
    traces = {span.context.trace_id for span in spans.get_finished_spans()}
    assert traces == {request.get_span_context().trace_id}


async def test_a_batch_is_linked_to_the_enqueue_of_each_of_its_runs(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    async with working(dsn, many, tracing=True) as here:
        client = here.worker.client
        runs = await client.enqueue_many([many.item(1), many.item(2)])
        runs += await client.enqueue_many([many.item(3)])
        for run in runs:
            await run.result("120s")
    enqueues = named(spans, "enqueue")
    counts = [dict(span.attributes or {}).get("messaging.batch.message_count") for span in enqueues]
    assert counts == [2, None]
    attempts = named(spans, "run post.many")
    linked = {link.context.span_id for span in attempts for link in span.links}
    parents = {span.parent.span_id for span in attempts if span.parent is not None}
    assert linked | parents == {span.context.span_id for span in enqueues}


async def test_a_run_that_was_enqueued_without_a_trace_begins_one(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    async with working(dsn, send, tracing=True) as here:
        async with open_client(load_settings(database_url=dsn)) as untraced:
            run = await untraced.enqueue(send.item("a@b.c"))
        await here.worker.client.result(run.id, "120s")
    assert one(spans, "run post.send").parent is None
    assert named(spans, "enqueue post.send") == []


async def test_while_it_is_off_there_is_no_span_and_nothing_around_a_task(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    async with working(dsn, send) as here:
        run = await here.worker.client.enqueue(send.item("a@b.c"))
        await run.result("120s")
        assert not here.worker._executor.has_middleware(send)
    assert {span.name for span in spans.get_finished_spans()} == {"smtp"}
    ((carrier, _),) = told
    assert carrier == {}


async def test_what_somebody_else_wrote_there_is_no_reason_to_fail(
    dsn: str, spans: InMemorySpanExporter
) -> None:
    async with working(dsn, send, tracing=True) as here:
        for strange in ("no object", {"traceparent": "not one"}, {"traceparent": 7}):
            run = await here.worker.client.enqueue(
                "post.send", {"to": "x"}, meta={"openqueue.trace": strange}, key=str(strange)
            )
            assert await run.result("120s") == "x"


TASKS = """
import json
import os
import signal
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from openqueue import task


class ToFile(SpanExporter):
    def export(self, spans):
        with Path(os.environ["SPANS"]).open("a") as file:
            for span in spans:
                parent = span.parent and f"{span.parent.span_id:016x}"
                trace_id = f"{span.context.trace_id:032x}"
                file.write(json.dumps([span.name, trace_id, parent, dict(span.attributes)]) + "\\n")
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ToFile()))
trace.set_tracer_provider(provider)


@task(name="far.away")
async def away() -> None: ...


@task(name="far.deadly")
async def deadly() -> None:
    before = Path(os.environ["SPANS"] + ".begun")
    if not before.exists():
        before.touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_trace_goes_on_in_another_process(
    oq: Command, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    (oq.project / "tasks" / "far.py").write_text(TASKS)

    async def enqueue() -> None:
        async with openqueue.connect(oq.url, tracing=True) as client:
            await client.enqueue("far.away", allow_unknown=True)

    asyncio.run(enqueue())
    file = tmp_path / "spans"
    answer = oq.run("worker", "--once", OPENQUEUE_TRACING="on", SPANS=str(file))
    assert answer.code == 0, answer.err
    enqueued = one(spans, "enqueue far.away")
    expected = [f"{enqueued.context.trace_id:032x}", f"{enqueued.context.span_id:016x}"]
    (written,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert written[:3] == ["run far.away", *expected]


def test_the_attempt_after_one_whose_worker_was_killed_goes_on_in_the_trace_and_says_so(
    oq: Command, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    (oq.project / "tasks" / "far.py").write_text(TASKS)
    file = tmp_path / "spans"

    async def enqueue() -> None:
        async with openqueue.connect(oq.url, tracing=True) as client:
            run = await client.enqueue("far.deadly", allow_unknown=True)
            killed = oq.start("worker", OPENQUEUE_TRACING="on", SPANS=str(file))
            await asyncio.to_thread(killed.communicate, timeout=PATIENCE)
            assert killed.returncode == -signal.SIGKILL
            heir = oq.start("worker", OPENQUEUE_TRACING="on", SPANS=str(file))
            try:
                await run.result(PATIENCE)
            finally:
                heir.terminate()
                await asyncio.to_thread(heir.communicate)
            assert [one.outcome for one in await client.attempts(run.id)] == ["lost", "completed"]

    asyncio.run(enqueue())
    enqueued = one(spans, "enqueue far.deadly")
    (written,) = [json.loads(line) for line in file.read_text().splitlines()]
    name, trace_id, parent, attributes = written
    expected = ["run far.deadly", f"{enqueued.context.trace_id:032x}", f"{enqueued.context.span_id:016x}"]
    assert [name, trace_id, parent] == expected
    assert attributes["openqueue.rescued"] is True
    assert (attributes["openqueue.attempt"], attributes["openqueue.outcome"]) == (1, "completed")


def test_without_the_api_it_is_said_which_extra_to_install(oq: Command) -> None:
    (oq.project / "opentelemetry.py").write_text("raise ImportError('not here')\n")
    path = f"{oq.project}:{Path(__file__).parents[2]}"
    answer = oq.run("runs", "list", OPENQUEUE_TRACING="on", PYTHONPATH=path)
    assert answer.code == 3
    assert "pip install 'openqueue[tracing]'" in answer.err
