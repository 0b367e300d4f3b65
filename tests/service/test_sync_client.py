"""The client without await: in threads, after a fork, in a shell, beside a running loop, inside a worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

import openqueue
from openqueue import Run, SyncClient, task
from openqueue.errors import (
    ConfigError,
    ConnectionFailed,
    InvalidOption,
    OpenQueueError,
    RunFailed,
    RunNotFound,
    SchemaError,
    UnexpectedState,
    UnknownTask,
)
from openqueue.runs.loops import in_place
from tests.support.drivers import ask, job, stored
from tests.support.transcript import environment
from tests.support.worker_here import working


@task(name="double")
def double(value: int) -> int:
    return value * 2


@task(name="refuse")
async def refuse() -> None:
    raise openqueue.GiveUp("no")


@pytest.fixture
def client(dsn: str) -> Iterator[SyncClient]:
    with openqueue.connect_sync(dsn) as opened:
        yield opened


def program(dsn: str, text: str, first: str = "") -> list[str]:
    """What a program prints, which must end well and warn of nothing."""
    head = "import os, sys, threading, openqueue\nfrom tests.service.test_sync_client import double\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", first + head + text],
        env=environment(OPENQUEUE_DATABASE_URL=dsn),
        cwd=Path.cwd(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.split()


def test_it_has_the_calls_of_the_asynchronous_one(client: SyncClient, dsn: str) -> None:
    run = double.enqueue_sync(1)
    assert run.status_sync() == "queued"
    assert client.get(run.id).input == {"value": 1}
    assert [event.event for event in run.events_sync()] == ["enqueued"]
    later = double.options(delay="1h", tags=["x"]).enqueue_sync(value=2)
    assert later.info_sync().tags == ("x",)
    assert client.promote(later.id) == "ready"
    assert run.cancel_sync("enough") == "cancelled"
    assert client.cancel(run.id) == "finished"
    assert run.retry_sync() == "ready"
    assert client.cancel(run.id) == "cancelled"
    assert client.attempts(run.id)[0].outcome == "cancelled"
    assert client.retry(run.id) == "ready"
    named = client.enqueue("somewhere.else", {"a": 1}, allow_unknown=True, priority=3)
    many = client.enqueue_many([double.item(1), double.options(queue="b").item(2)])
    assert [one.id for one in client.list_runs()] == [
        *(r.id for r in reversed(many)),
        named.id,
        later.id,
        run.id,
    ]
    with pytest.raises(UnknownTask, match=r"'nobody\.has'"):
        openqueue.enqueue_sync("nobody.has")
    client.cancel(later.id)
    with pytest.raises(UnexpectedState, match="finished: retry it instead"):
        client.promote(later.id)
    with pytest.raises(TimeoutError, match="it goes on"):
        run.result_sync(timeout=0.05)
    run.cancel_sync()
    ask(dsn, "DELETE FROM openqueue.runs WHERE id = %s", run.id)
    with pytest.raises(RunNotFound):
        run.status_sync()


async def test_it_waits_for_results_and_failures(dsn: str) -> None:
    def shop() -> tuple[int, str]:
        with openqueue.connect_sync(dsn):
            run = double.enqueue_sync(21)
            with pytest.raises(RunFailed) as failed:
                refuse.enqueue_sync().result_sync(timeout=60)
            return run.result_sync(timeout=60), failed.value.error["message"]

    async with working(dsn, double, refuse):
        assert await asyncio.to_thread(shop) == (42, "no")


def test_sixteen_threads_share_it(client: SyncClient, dsn: str) -> None:
    at_once = threading.Barrier(16)

    def enqueue(number: int) -> list[Run[Any]]:
        at_once.wait()
        return [client.enqueue(double.item(number)) for _ in range(25)]

    with ThreadPoolExecutor(16) as threads:
        found = [run.id for runs in threads.map(enqueue, range(16)) for run in runs]
    assert len(set(found)) == stored(dsn) == 400


def test_sixteen_threads_open_the_default_one_once(dsn: str) -> None:
    text = """
ready = threading.Barrier(16)
def work():
    ready.wait()
    double.enqueue_sync(1)
threads = [threading.Thread(target=work) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sum(thread.name == "openqueue-background" for thread in threading.enumerate()))
"""
    assert program(dsn, text) == ["1"]
    assert stored(dsn) == 16


def test_a_plain_program_needs_no_opening_and_no_closing(dsn: str) -> None:
    first = """
import atexit, threading
atexit.register(lambda: print([one.name for one in threading.enumerate()]))  # comes last
"""
    text = """
run = double.enqueue_sync(1)
print(run.status_sync(), [one.name for one in threading.enumerate()])
"""
    assert program(dsn, text, first) == [
        "queued",
        "['MainThread',",
        "'openqueue-background']",
        "['MainThread']",
    ]


FORK = """
def enqueue():
    run = double.enqueue_sync(os.getpid())
    return run.status_sync()

mine = double.enqueue_sync(0)
mine_too = openqueue.enqueue_many_sync([double.item(0)])[0]
children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        states = [enqueue(), enqueue(), mine.status_sync(), mine_too.cancel_sync()]
        os.write(1, (" ".join(states) + "\\n").encode())
        sys.exit(0)  # as gunicorn's workers end: with everything that is done at exit
    enqueue()
    assert os.waitpid(pid, 0)[1] == 0
print(enqueue())
"""


@pytest.mark.parametrize("way", ["default", "connected"])
def test_a_client_made_before_a_fork_is_safe_after_it_on_both_sides(dsn: str, way: str) -> None:
    text = FORK
    if way == "connected":
        body = "\n".join(f"    {line}" for line in FORK.splitlines())
        text = f"with openqueue.connect_sync(os.environ.pop('OPENQUEUE_DATABASE_URL')):\n{body}"
    text = "import warnings; warnings.filterwarnings('ignore', category=DeprecationWarning)\n" + text
    states = program(dsn, text)
    cancelled = ["cancelled", "finished", "finished"]
    assert states == [word for last in cancelled for word in ["queued"] * 3 + [last]] + ["queued"]
    assert stored_ever(dsn) == 2 + 3 * 3 + 1


def stored_ever(dsn: str) -> int:
    ((count,),) = ask(dsn, "SELECT count(*) FROM openqueue.run_requests")
    return int(count)


def test_a_fork_while_other_threads_enqueue_is_safe(dsn: str) -> None:
    text = """
import warnings; warnings.filterwarnings("ignore", category=DeprecationWarning)
over = threading.Event()
def work():
    while not over.is_set():
        double.enqueue_sync(1)
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
for _ in range(10):
    pid = os.fork()
    if not pid:
        double.enqueue_sync(2)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
over.set()
[thread.join() for thread in threads]
print(double.enqueue_sync(3).status_sync())
"""
    assert program(dsn, text) == ["queued"]
    assert ask(dsn, "SELECT count(*) FROM openqueue.runs WHERE input = '{\"value\": 2}'") == [(10,)]


def test_a_fork_while_another_thread_opens_the_default_client_is_safe(dsn: str) -> None:
    """What that thread was reading just then, the child reads for itself: nobody else will end it there."""
    text = """
import signal, warnings; warnings.filterwarnings("ignore", category=DeprecationWarning)
from openqueue.db import statements
reading, go_on, load = threading.Event(), threading.Event(), statements._load
def slowly(root):
    reading.set()
    go_on.wait(60)
    return load(root)
statements._load = slowly
thread = threading.Thread(target=lambda: double.enqueue_sync(1))
thread.start()
assert reading.wait(60)
pid = os.fork()
if not pid:
    signal.alarm(60)
    statements._load = load
    for _ in range(8):  # which take the places, and so the names, of the parent's threads
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    print(double.enqueue_sync(2).status_sync(), flush=True)
    os._exit(0)
ended = os.waitpid(pid, 0)[1]
go_on.set()
thread.join()
print(ended)
"""
    assert program(dsn, text) == ["queued", "0"]


async def test_beside_a_running_loop_it_blocks_and_works(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook's cell: a loop runs in this thread, and the calls do not wait for it."""
    with openqueue.connect_sync(dsn) as client:
        run = double.enqueue_sync(1)
        assert (run.status_sync(), await run.status()) == ("queued", "queued")
        other = await double.enqueue(2)
        assert (await other.cancel(), other.status_sync()) == ("cancelled", "cancelled")
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            mine = await double.options(connection=connection).enqueue(3)
        assert await mine.status() == client.get(mine.id).status == "queued"
    assert stored_ever(dsn) == 3


async def test_a_call_that_would_wait_for_its_own_loop_is_refused(dsn: str) -> None:
    async with openqueue.connect(dsn):
        run = await double.enqueue(1)
        for call in (lambda: double.enqueue_sync(2), run.status_sync):
            with pytest.raises(OpenQueueError, match=r"cannot be made in the event loop.*Await"):
                call()
        assert await asyncio.to_thread(run.status_sync) == "queued"
        assert (await asyncio.to_thread(double.enqueue_sync, 3)).outcome == "added"
        with psycopg.connect(dsn) as connection:
            double.options(connection=connection).enqueue_sync(4)
    assert stored(dsn) == 3
    with pytest.raises(ConnectionFailed):
        await asyncio.to_thread(run.status_sync)


def test_a_run_is_told_when_its_loop_has_ended(dsn: str) -> None:
    async def enqueue() -> Run[int]:
        async with openqueue.connect(dsn):
            return await double.enqueue(1)

    run = asyncio.run(enqueue())
    with pytest.raises(ConnectionFailed, match=r"does not run any longer\. Open another"):
        run.status_sync()


async def test_a_synchronous_task_uses_its_workers_client(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENQUEUE_DATABASE_URL", raising=False)
    threads: list[str] = []

    @task(name="parent")
    def parent() -> int:
        child = double.enqueue_sync(4)
        with psycopg.connect(dsn) as connection:
            double.options(connection=connection).enqueue_sync(5)
        threads.extend(one.name for one in threading.enumerate() if one.name == "openqueue-background")
        return child.result_sync(timeout=60)

    before = [one.name for one in threading.enumerate() if one.name == "openqueue-background"]
    async with working(dsn, parent, double), openqueue.connect(dsn):
        assert await (await parent.enqueue()).result(timeout=60) == 8
    assert threads == before
    assert stored_ever(dsn) == 3


def test_what_is_wrong_with_the_database_is_said_and_may_be_mended(
    dsn: str, empty_dsn: str, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = "from openqueue.errors import *\n"
    text = default + (
        "try: double.enqueue_sync(1)\nexcept ConfigError as error: print(type(error).__name__)\n"
        f"os.environ['OPENQUEUE_DATABASE_URL'] = {dsn!r}\n"
        "print(double.enqueue_sync(1).status_sync())"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import os\nfrom tests.service.test_sync_client import double\n" + text],
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["ConfigError", "queued"], done.stderr
    with pytest.raises(SchemaError), openqueue.connect_sync(empty_dsn):
        pass
    with pytest.raises(ConfigError), openqueue.connect_sync():
        pass


def test_a_closed_client_says_so(dsn: str) -> None:
    with openqueue.connect_sync(dsn) as client:
        run = client.enqueue(double.item(1))
    for call in (lambda: client.enqueue(double.item(2)), run.status_sync):
        with pytest.raises(ConnectionFailed, match="closed"):
            call()


def test_bad_input_is_refused_as_by_the_asynchronous_one(client: SyncClient, dsn: str) -> None:
    bad: list[Callable[[], object]] = [
        lambda: double.enqueue_sync("x"),  # type: ignore[arg-type]
        lambda: double.options(delay=-1).enqueue_sync(1),
        lambda: client.enqueue_many([1]),  # type: ignore[list-item]
        lambda: client.enqueue_many([double.item(1)], connection=object()),
        lambda: job.enqueue_sync("\0"),
    ]
    for call in bad:
        with pytest.raises((openqueue.InvalidArguments, InvalidOption, openqueue.NotSerializable)):
            call()
    assert client.enqueue_many([]) == []
    assert stored(dsn) == 0


async def test_what_runs_in_place_may_give_way_but_not_wait() -> None:
    async def gives_way() -> int:
        await asyncio.sleep(0)
        return 1

    async def waits() -> None:
        await asyncio.Event().wait()

    assert in_place(gives_way()) == 1
    with pytest.raises(OpenQueueError, match="had to wait for an event loop"):
        in_place(waits())
