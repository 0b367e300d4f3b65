"""The database under a running worker goes, or becomes another one: what it does is defined."""

from __future__ import annotations

import asyncio
import shutil
import time
import urllib.request
from collections import Counter
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import asyncpg

import openqueue
from openqueue.db.migrations import migrate
from tests.chaos import tasks as chaos_tasks
from tests.chaos.worker import Worker
from tests.support import crash_tasks as tasks
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.own_server import OwnServer
from tests.support.ports import free_port
from tests.support.worker_process import WorkerProcess


async def test_a_database_dropped_and_made_anew_is_worked_on_as_if_the_worker_had_just_come(
    databases: Databases, server_dsn: str
) -> None:
    dsn = databases.create()
    name = urlsplit(dsn).path[1:]
    maker = await asyncpg.connect(server_dsn)
    try:
        async with WorkerProcess(dsn, heartbeat="300ms") as worker:
            await worker.started()
            async with openqueue.connect(dsn) as client:
                runs = await client.enqueue_many([tasks.quick.item(number) for number in range(300)])
                assert [await run.result("120s") for run in runs] == list(range(300))
            await maker.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await worker.wait_for("ServiceStumbled", service="heartbeat")
            await maker.execute(f'CREATE DATABASE "{name}"')
            await migrate(dsn)
            async with openqueue.connect(dsn) as client:
                runs = await client.enqueue_many([tasks.quick.item(number) for number in range(20)])
                assert [await run.result("120s") for run in runs] == list(range(20))
                (known,) = await client.database.fetch("SELECT count(*) FROM openqueue.workers")
                assert known["count"] == 1
            assert await worker.stop() == 0
    finally:
        await maker.close()
        databases.drop(dsn)


async def test_a_schema_migrated_under_a_running_worker_is_worked_on_at_once(
    dsn: str, db: asyncpg.Connection
) -> None:
    """Every function is replaced, in one transaction, while jobs run; one was even missing before."""
    async with WorkerProcess(dsn, heartbeat="300ms") as worker, openqueue.connect(dsn) as client:
        await worker.started()
        runs = [await tasks.quick.enqueue(number) for number in range(20)]
        for name in ("finish_jobs", "beat_worker"):
            (one,) = await db.fetch(
                "SELECT oid::regprocedure::text AS signature FROM pg_proc"
                " WHERE proname = $1 AND pronamespace = 'openqueue'::regnamespace",
                name,
            )
            await db.execute(f"DROP FUNCTION {one['signature']}")
            runs += [await tasks.quick.enqueue(number) for number in range(20)]
        await worker.wait_for("ServiceStumbled", service="heartbeat")
        report = await migrate(dsn)
        assert report.engine
        runs += [await tasks.quick.enqueue(number) for number in range(20)]
        assert [await run.result("120s") for run in runs] == [*range(20)] * 4
        for run in runs:
            assert [one.outcome for one in await client.attempts(run.id)] == ["completed"]
        assert await worker.stop() == 0
        assert not worker.heard("OutcomeUnsaved")


async def test_a_worker_without_its_database_is_not_ready_says_so_once_and_comes_back(
    own_server: OwnServer, tmp_path: Path
) -> None:
    dsn, port = own_server.dsn(), free_port()
    await migrate(dsn)
    (tmp_path / "tasks").mkdir()
    shutil.copy(chaos_tasks.__file__, tmp_path / "tasks" / "chaos.py")
    worker = Worker(tmp_path, dsn, dsn, name="alone", health=f"127.0.0.1:{port}", heartbeat="500ms")
    try:
        assert await worker.begun(), worker.tail()
        await eventually(partial(answers, port, 200), every=0.05, what="ready")
        told = len(worker.told())
        await asyncio.to_thread(own_server.stop, "fast")
        await eventually(partial(answers, port, 503), every=0.05, what="not ready")
        over = time.monotonic() + 4  # the outage: long enough for many tries of every part
        await eventually(lambda: time.monotonic() > over)
        said = Counter(
            (one["event"], one.get("service"), one.get("duty"))
            for one in worker.told()[told:]
            if one["level"] in ("warning", "error")
        )
        await asyncio.to_thread(own_server.start)
        assert said, worker.tail()
        two = (
            "a part of the worker failed, and tries again",
            "producer",
            None,
        )  # of them: async, and threads
        assert {what: count for what, count in said.items() if count > 1 + (what == two)} == {}, worker.tail()
        await eventually(partial(answers, port, 200), every=0.05, what="ready again")
        assert worker.alive
        assert await worker.stop() == 0
    finally:
        await worker.end()


def answers(port: int, status: int) -> bool:
    """Whether /ready answers with this."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10) as answer:
            return bool(answer.status == status)
    except HTTPError as refused:
        return refused.code == status
    except OSError:
        return False
