"""Tasks in processes of their own: nothing that happens to one reaches beyond its attempt."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from openqueue import Client, RunCancelled, RunFailed, Task
from openqueue.worker.processes import in_process, task_process
from openqueue.worker.processes.pool import Processes
from tests.support import process_tasks as tasks
from tests.support.eventually import PATIENCE, eventually
from tests.support.process_tasks import Point
from tests.support.worker_here import WorkerHere, working
from tests.support.worker_process import WorkerProcess

EVERY: list[Task[..., Any]] = [
    tasks.move,
    tasks.pid,
    tasks.thread_pid,
    tasks.talk,
    tasks.shout,
    tasks.child,
    tasks.parent,
    tasks.leave,
    tasks.die,
    tasks.timeless,
    tasks.long,
    tasks.polite,
]


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not asked for how does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


async def gone(pid: int) -> None:
    """Killed with its group, it ends when it has its turn: nobody waits for it."""
    await eventually(lambda: not is_alive(pid), what=f"{pid} has ended")


async def told(file: Path) -> list[int]:
    await eventually(file.exists, what="the task runs")
    return [int(one) for one in file.read_text().split()]  # noqa: ASYNC240  it is short


async def outcomes(client: Client, run: Any) -> list[str]:
    return [one.outcome for one in await client.attempts(run.id)]


def processes(here: WorkerHere) -> Processes:
    return here.worker._executor._processes


async def test_arguments_and_results_are_what_the_annotations_say(dsn: str, client: Client) -> None:
    async with working(dsn, *EVERY):
        assert await (await tasks.move.enqueue(Point(1, 2), by=3)).result("60s") == Point(4, 5)
        inside = await (await tasks.pid.enqueue()).result("60s")
        assert inside != os.getpid()
        assert await (await tasks.pid.enqueue()).result("60s") == inside, "a process is used again"
        assert await (await tasks.thread_pid.enqueue()).result("60s") == os.getpid()
    assert not is_alive(inside)


async def test_the_context_says_the_same_as_elsewhere(
    dsn: str, client: Client, db: asyncpg.Connection
) -> None:
    async with working(dsn, *EVERY):
        run = await tasks.talk.options(meta={"a": 1}, tags=["x"], queue="q", max_attempts=3).enqueue()
        assert await run.result("60s") == {
            "attempt": 1,
            "max_attempts": 3,
            "queue": "q",
            "tags": ["x"],
            "meta": {"a": 1},
            "task": "process.talk",
            "run": str(run.id),
            "due": True,
            "cancelled": False,
            "colour": "none",
        }
        assert (await run.info()).progress == {"done": 2}
        loud = await tasks.shout.enqueue(2_000)
        await loud.result("60s")
    said = "SELECT data FROM openqueue.run_log WHERE run_id = $1 AND kind = 'log' ORDER BY n"
    assert [row["data"] for row in await db.fetch(said, run.id)]
    lines = await db.fetch(said, loud.id)
    assert len(lines) == 1001
    assert max(len(row["data"]) for row in lines) < 9_000


async def test_a_task_enqueues_to_the_database_of_its_worker(dsn: str, client: Client) -> None:
    async with working(dsn, *EVERY):
        first, second = await (await tasks.parent.enqueue()).result("60s")
        await eventually(lambda: _are_done(client, first, second))


async def _are_done(client: Client, *runs: str) -> bool:
    return all([(await client.get(run)).status == "completed" for run in runs])  # type: ignore[arg-type]


async def test_errors_and_control_flow_come_back_as_they_are(
    dsn: str, client: Client, tmp_path: Path
) -> None:
    async with working(dsn, *EVERY):

        async def failure(how: str) -> dict[str, Any]:
            run = await tasks.leave.enqueue(how)
            with pytest.raises(RunFailed):
                await run.result("60s")
            error = (await run.info()).error
            assert error is not None
            return {**error, "outcomes": await outcomes(client, run)}

        value = await failure("value")
        assert (value["type"], value["message"]) == ("ValueError", "bad luck")
        assert value["outcomes"] == ["failed", "failed"]
        assert [one["type"] for one in value["causes"]] == ["KeyError"]
        assert 'raise ValueError("bad luck")' in value["traceback"]
        assert "child.py" not in value["traceback"]
        assert "executor.py" not in value["traceback"]
        picky = await failure("picky")
        assert picky["type"] == "tests.support.process_tasks.Picky"
        assert picky["message"] == "because (7)"
        assert (await failure("plain"))["type"] == "tests.support.process_tasks.Plain"
        assert (await failure("group"))["type"] == "ExceptionGroup"
        assert (await failure("give up"))["outcomes"] == ["failed"]
        assert (await failure("sys.exit"))["type"] == "SystemExit"
        assert (await failure("output"))["type"] == "openqueue.errors.NotSerializable"
        assert (await failure("huge output"))["type"] == "openqueue.errors.TooLarge"
        cancelled = await tasks.leave.enqueue("cancelled")
        with pytest.raises(RunCancelled):
            await cancelled.result("60s")
        assert await outcomes(client, cancelled) == ["cancelled"]
        file = tmp_path / "file"
        snoozed = await tasks.leave.options(meta={"file": str(file)}).enqueue("snooze")
        await eventually(lambda: _has(client, snoozed, "snoozed"))
        file.touch()
        with pytest.raises(RunFailed, match="twice"):
            await snoozed.result("60s")


async def _has(client: Client, run: Any, outcome: str) -> bool:
    return outcome in await outcomes(client, run)


@pytest.mark.parametrize(
    ("how", "words"),
    [("exit", "exit code 7"), ("segfault", "SIGSEGV"), ("SIGKILL", "SIGKILL.*for want of memory")],
)
async def test_a_process_that_dies_fails_its_own_attempt_and_no_other(
    dsn: str, client: Client, tmp_path: Path, how: str, words: str
) -> None:
    async with working(dsn, *EVERY, task_processes=2) as here:
        beside = await tasks.polite.enqueue(str(tmp_path / "beside"))
        (pid,) = await told(tmp_path / "beside")
        run = await tasks.die.enqueue(how)
        with pytest.raises(RunFailed, match=words):
            await run.result("60s")
        error = (await run.info()).error
        assert error is not None
        assert error["type"] == "openqueue.errors.ProcessDied"
        assert is_alive(pid)
        assert (await beside.info()).status == "running"
        assert await (await tasks.move.enqueue(Point(0, 0))).result("60s") == Point(1, 1)
        assert not here.ending.done()
        await client.cancel(beside.id)
        with pytest.raises(RunCancelled):
            await beside.result("60s")


@pytest.mark.parametrize("deaf", [False, True], ids=["hears SIGTERM", "ignores it"])
async def test_a_timeout_ends_the_process_and_what_it_has_started(
    dsn: str, client: Client, tmp_path: Path, deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not deaf:
        monkeypatch.setattr(task_process, "TERM_GRACE", PATIENCE)
    file = tmp_path / "file"
    async with working(dsn, *EVERY, task_processes=1):
        run = await tasks.timeless.enqueue(str(file), deaf)
        with pytest.raises(RunFailed, match=r"timeout of 3 s"):
            await run.result("60s")
        process, program = await told(file)
        assert not is_alive(process)
        await gone(program)
        assert (tmp_path / "file.cleaned").exists() is not deaf, "SIGTERM lets it clean up"
        assert await (await tasks.move.enqueue(Point(0, 0))).result("60s") == Point(1, 1)


async def test_a_cancelled_run_is_ended_within_a_second(
    dsn: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(dsn, *EVERY) as here:
        stubborn = await tasks.long.enqueue(str(tmp_path / "stubborn"), deaf=True)
        polite = await tasks.polite.enqueue(str(tmp_path / "polite"))
        process, program = await told(tmp_path / "stubborn")
        (kept,) = await told(tmp_path / "polite")
        await client.cancel(stubborn.id)
        with pytest.raises(RunCancelled):
            await stubborn.result("60s")
        monkeypatch.setattr(in_process, "PATIENCE", PATIENCE)
        await client.cancel(polite.id)
        with pytest.raises(RunCancelled):
            await polite.result("60s")
        assert await outcomes(client, stubborn) == ["cancelled"]
        assert not is_alive(process)
        await gone(program)
        error = (await polite.info()).error
        assert error is not None
        assert error["message"] == "as you wish"
        assert kept in processes(here).pids, "one that ends by itself is kept"


async def test_at_shutdown_a_run_goes_back_uncounted_and_no_process_is_left(
    dsn: str, client: Client, tmp_path: Path
) -> None:
    async with working(dsn, *EVERY, grace="100ms") as here:
        run = await tasks.long.enqueue(str(tmp_path / "file"))
        process, program = await told(tmp_path / "file")
        idle = await (await tasks.pid.enqueue()).result("60s")
        await here.stopped()
        assert not is_alive(process)
        assert not is_alive(idle)
        await gone(program)
    assert await outcomes(client, run) == ["released"]
    assert (await run.info()).status == "queued"


async def test_processes_end_with_a_worker_that_is_killed(dsn: str, client: Client, tmp_path: Path) -> None:
    modules = ("tests.support.process_tasks",)
    async with WorkerProcess(dsn, modules=modules) as worker:
        await worker.started()
        idle = await (await tasks.pid.enqueue()).result("60s")
        await tasks.long.enqueue(str(tmp_path / "file"), deaf=True)
        process, program = await told(tmp_path / "file")
        worker.signal(signal.SIGKILL)
        await eventually(lambda: not any(is_alive(one) for one in (process, program, idle)), what="all ended")


async def test_a_process_is_replaced_after_many_runs_and_when_idle_for_long(dsn: str, client: Client) -> None:
    def often(worker: Any) -> None:
        worker._executor._processes._most_runs = 2

    async with working(dsn, *EVERY, prepare=often) as here:
        first, second, third = [await (await tasks.pid.enqueue()).result("60s") for _ in range(3)]
        assert first == second != third
        await eventually(lambda: not is_alive(first))
        processes(here)._idle_time = 0.0
        assert await (await tasks.pid.enqueue()).result("60s") == third
        await eventually(lambda: not processes(here).pids and not is_alive(third))


async def test_no_more_processes_run_than_there_are_places(dsn: str, client: Client) -> None:
    async with working(dsn, *EVERY, task_processes=2) as here:
        runs = await client.enqueue_many([tasks.pid.item() for _ in range(20)])
        pids = {await run.result("60s") for run in runs}
        assert len(pids) <= 2
        assert set(processes(here).pids) == pids
