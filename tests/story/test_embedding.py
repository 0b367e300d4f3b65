"""Workers inside other programs: in an event loop, several at once, beside a web application."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx2 as httpx
import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

import openqueue
from openqueue import ConfigError, InvalidTask, SchemaError, Worker, task
from openqueue.events import Events
from openqueue.tasks.naming import roots
from openqueue.tasks.surrounding import set_around
from openqueue.worker.events import RunFinished, WorkerStopped
from tests.support.eventually import eventually

began = asyncio.Event()
go_on = asyncio.Event()


@task
async def double(n: int) -> int:
    return 2 * n


@task(queue="slow")
async def linger() -> str:
    began.set()
    await go_on.wait()
    return "done"


@task
def in_a_thread(n: int) -> int:
    return 3 * n


@pytest.fixture(autouse=True)
def _afresh() -> None:
    global began, go_on
    began, go_on = asyncio.Event(), asyncio.Event()


async def workers(db: asyncpg.Connection) -> int:
    return int(await db.fetchval("SELECT count(*) FROM openqueue.workers"))


async def test_it_works_from_the_beginning_of_the_block_to_its_end(dsn: str, db: asyncpg.Connection) -> None:
    async with Worker(tasks=[double, in_a_thread], database_url=dsn) as worker:
        assert await workers(db) == 1
        run = await double.enqueue(21)
        assert await run.result(timeout="60s") == 42
        assert await (await in_a_thread.enqueue(2)).result(timeout="60s") == 6
        await eventually(lambda: worker.ready, what="a heartbeat")
        assert (await worker.client.get(run.id)).status == "completed"
    assert await workers(db) == 0
    assert not worker.ready
    with pytest.raises(RuntimeError, match="does not run"):
        _ = worker.client


async def test_at_the_end_of_the_block_what_runs_has_its_grace(dsn: str) -> None:
    async with openqueue.connect(dsn) as client, Worker(tasks=[linger], database_url=dsn):
        run = await linger.enqueue()
        await began.wait()
        asyncio.get_running_loop().call_later(0.2, go_on.set)
    async with openqueue.connect(dsn) as client:
        assert (await client.get(run.id)).status == "completed"


async def test_what_does_not_end_within_its_grace_goes_back_uncounted(dsn: str) -> None:
    async with Worker(tasks=[linger], database_url=dsn, grace="50ms"):
        run = await linger.enqueue()
        await began.wait()
    async with openqueue.connect(dsn) as client:
        info = await client.get(run.id)
        assert (info.status, info.attempt) == ("queued", 0)


async def test_an_error_in_the_block_leaves_it_as_it_is_and_ends_the_worker(
    dsn: str, db: asyncpg.Connection
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Worker(tasks=[double], database_url=dsn):
            _ = 1 // 0
    assert await workers(db) == 0


async def test_a_block_that_is_cancelled_ends_the_worker(dsn: str, db: asyncpg.Connection) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await Worker(tasks=[double], database_url=dsn).run()
    assert await workers(db) == 0


async def test_an_error_that_ends_the_worker_cancels_the_block_and_leaves_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part of a worker ends by an error it can expect; so one that no part expects is made."""
    from openqueue.worker.starter import Starter

    async def break_down(self: Starter) -> int:
        raise AssertionError("a mistake of ours")

    monkeypatch.setattr(Starter, "once", break_down)
    with pytest.raises(AssertionError, match="a mistake of ours"):
        async with Worker(tasks=[double], database_url=dsn):
            await asyncio.Event().wait()


async def test_what_is_wrong_is_said_when_the_block_is_entered(
    dsn: str, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="OPENQUEUE_DATABASE_URL"):
        await Worker(tasks=[double]).run()
    with pytest.raises(SchemaError, match="openqueue migrate"):
        await Worker(tasks=[double], database_url=empty_dsn).run()
    with pytest.raises(ConfigError, match="nowhere"):
        await Worker(modules=["nowhere_at_all"], database_url=dsn).run()
    with pytest.raises(ConfigError, match="concurrency"):
        await Worker(tasks=[double], database_url=dsn, concurrency=0).run()


async def test_what_is_no_task_is_refused_where_it_is_given() -> None:
    for given in ("shop.double", print):
        with pytest.raises(InvalidTask, match=r"tasks: .* is no task\. .* modules="):
            Worker(tasks=[given])  # type: ignore[list-item]


async def test_one_module_and_one_directory_need_no_list(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "lonely.py").write_text(
        "from openqueue import task\n\n@task\ndef one() -> int:\n    return 1\n"
    )
    async with Worker(dirs=tmp_path, database_url=dsn) as worker:
        run = await worker.client.enqueue("lonely.one", allow_unknown=True)
        assert await run.result(timeout="120s") == 1


async def test_one_that_did_not_find_its_tasks_leaves_the_names_of_the_others(dsn: str) -> None:
    with pytest.raises(ConfigError, match=r"no module 'nowhere\.tasks'"):
        await Worker(modules="nowhere.tasks", database_url=dsn).run()
    assert roots() == (Path("tasks"),)


async def test_one_that_runs_is_not_entered_twice_but_may_be_later(dsn: str) -> None:
    worker = Worker(tasks=[double], database_url=dsn)
    for _ in range(2):
        async with worker:
            assert await (await double.enqueue(1)).result(timeout="60s") == 2
            with pytest.raises(RuntimeError, match="runs already"):
                await worker.run()


async def test_several_work_in_one_process_each_on_its_queues(dsn: str) -> None:
    bus = Events()
    ended: list[RunFinished] = []
    bus.subscribe(RunFinished, ended.append)
    async with (
        Worker(tasks=[double, linger], database_url=dsn, queues=["slow:1"], name="slow", events=bus),
        Worker(tasks=[double, linger], database_url=dsn, queues={"default": None}, name="fast") as fast,
    ):
        slow = await linger.enqueue()
        await began.wait()
        assert await (await double.enqueue(4)).result(timeout="60s") == 8
        assert await slow.status() == "running"
        go_on.set()
        assert await slow.result(timeout="60s") == "done"
        assert fast.ready
    assert [one.task for one in ended] == [linger.name]


async def test_it_finds_the_tasks_where_it_is_told_to_look(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    text = "from openqueue import task\n@task\ndef name_it() -> str:\n    return __name__\n"
    (tmp_path / "jobs" / "found_here.py").write_text(text)
    (tmp_path / "found_there.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    async with Worker(
        dirs=[tmp_path / "jobs"], modules=["found_there"], tasks=[double], database_url=dsn
    ) as worker:
        for name in ("found_here.name_it", "found_there.name_it"):
            assert await (await worker.client.enqueue(name)).result(timeout="60s")
        assert await (await double.enqueue(4)).result(timeout="60s") == 8


async def test_it_stops_when_it_is_told_to(dsn: str) -> None:
    worker = Worker(tasks=[double], database_url=dsn)
    async with worker:
        worker.stop()
        await worker.wait()


async def test_it_takes_signals_only_where_it_is_asked_to(dsn: str) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with Worker(tasks=[double], database_url=dsn):
        assert signal.getsignal(signal.SIGTERM) is before
    async with Worker(tasks=[double], database_url=dsn, signals=True) as worker:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(worker.wait(), timeout=60)
    assert signal.getsignal(signal.SIGTERM) is before


async def test_it_logs_to_the_logging_of_the_program(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    @task(max_attempts=1)
    async def fail() -> None:
        raise ValueError("on purpose")

    bus = Events()
    ended: list[object] = []
    bus.subscribe(RunFinished, ended.append)
    bus.subscribe(WorkerStopped, ended.append)
    with caplog.at_level("INFO", logger="openqueue"):
        async with Worker(tasks=[fail], database_url=dsn, events=bus):
            await fail.enqueue()
            await eventually(lambda: ended, what="the end of the run")
    said = [str(record.msg) for record in caplog.records if record.name == "openqueue"]
    assert any("run failed" in line and "on purpose" in line for line in said), said
    assert any("worker stopped" in line for line in said)


async def test_what_is_set_around_tasks_runs_with_each_of_them_and_not_with_a_call(dsn: str) -> None:
    from functools import wraps

    around: list[str] = []

    def told(function):  # type: ignore[no-untyped-def]
        @wraps(function)
        async def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            around.append(function.__name__)
            return await function(*args, **kwargs)

        return call

    before = set_around(told)
    try:
        async with Worker(tasks=[double], database_url=dsn):
            assert await (await double.enqueue(4)).result(timeout="60s") == 8
            assert around == ["double"]
            assert await double(1) == 2
            assert around == ["double"]
    finally:
        set_around(before)


def application(**options: object) -> FastAPI:
    app = FastAPI(lifespan=openqueue.lifespan(**options))  # type: ignore[arg-type]

    @app.post("/double/{n}")
    async def enqueue(n: int, request: Request) -> dict[str, object]:
        run = await double.enqueue(n)
        info = await request.state.openqueue.get(run.id)
        return {"id": str(run.id), "status": info.status}

    @app.post("/later/{n}")
    def enqueue_in_a_thread(n: int) -> str:
        return double.enqueue_sync(n).status_sync()

    return app


async def test_an_application_enqueues_by_the_client_of_its_lifespan(
    dsn: str, db: asyncpg.Connection
) -> None:
    with TestClient(application(database_url=dsn)) as browser:
        answer = browser.post("/double/4").json()
        assert browser.post("/later/5").json() == "queued"
    assert answer["status"] == "queued"
    assert await db.fetchval("SELECT count(*) FROM openqueue.runs WHERE status = 'queued'") == 2
    assert await workers(db) == 0


async def test_a_worker_beside_an_application_runs_what_it_enqueues(dsn: str) -> None:
    app = FastAPI(lifespan=openqueue.lifespan(Worker(tasks=[double], database_url=dsn)))

    @app.get("/double/{n}")
    async def now(n: int) -> int:
        return await (await double.enqueue(n)).result(timeout="60s")

    for _ in range(2):  # a test client starts and ends the application each time
        with TestClient(app) as browser:
            assert browser.get("/double/4").json() == 8


async def test_the_default_is_as_before_when_the_application_has_ended(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = application(database_url=dsn)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        await double.enqueue(1)
    with pytest.raises(ConfigError, match="no database"):
        await double.enqueue(1)


async def test_a_worker_of_a_lifespan_has_the_settings() -> None:
    with pytest.raises(ConfigError, match=r"Give them to Worker"):
        openqueue.lifespan(Worker(), database_url="postgresql://nowhere")


@pytest.fixture
async def browser(dsn: str) -> AsyncIterator[httpx.AsyncClient]:
    """In the event loop of the test, without a lifespan of the application's own."""
    app = FastAPI()

    @app.post("/double/{n}")
    async def enqueue(n: int) -> str:
        return str((await double.enqueue(n)).id)

    async with (
        Worker(tasks=[double], database_url=dsn),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client,
    ):
        yield client


async def test_in_a_fixture_a_worker_lives_as_long_as_the_test(
    browser: httpx.AsyncClient, db: asyncpg.Connection
) -> None:
    assert await workers(db) == 1
