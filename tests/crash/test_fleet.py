"""`openqueue worker --processes N`: what is killed is started again, what is told to stop leaves well."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from openqueue import Client
from tests.support import crash_tasks as tasks
from tests.support.eventually import eventually
from tests.support.fleet_process import FleetProcess
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

ROWS = "SELECT name, pid FROM openqueue.workers ORDER BY name"
LEFT = "SELECT (SELECT count(*) FROM openqueue.jobs) + (SELECT count(*) FROM openqueue.workers)"


async def outcomes(client: Client, run: Any) -> list[str]:
    return [one.outcome for one in await client.attempts(run.id)]


async def one_on_each(fleet: FleetProcess, gate: Path, workers: int) -> list[Any]:
    """Runs that wait for a file, begun one after the other: each by a worker that has room for one."""
    runs = []
    for number in range(1, workers + 1):
        runs.append(await tasks.until.enqueue(str(gate)))
        await fleet.wait_for("mark", what="begin", count=number)
    return runs


def is_gone(pid: int) -> bool:
    """Whether there is no such process; a zombie, whose parent has not looked yet, is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


async def all_drain(fleet: FleetProcess, gate: Path, workers: int) -> None:
    """What runs may end once no worker takes in any more."""
    await fleet.wait_for("worker stops: no new work is taken in", count=workers)
    gate.touch()  # noqa: ASYNC240


async def test_each_worker_has_a_row_a_process_and_its_name_in_every_line_and_all_drain(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    async with FleetProcess(dsn, 3, concurrency=1) as fleet:
        await fleet.started()
        rows = await db.fetch(ROWS)
        assert [row["name"] for row in rows] == ["w-1", "w-2", "w-3"]
        assert [row["pid"] for row in rows] == [fleet.pid_of(row["name"]) for row in rows]
        runs = await one_on_each(fleet, gate, 3)
        assert {one["pid"] for one in fleet.heard("mark")} == {row["pid"] for row in rows}
        fleet.signal(signal.SIGTERM)
        await all_drain(fleet, gate, 3)
        assert await fleet.ended() == 0
        assert [await outcomes(client, run) for run in runs] == [["completed"]] * 3
    lines = [json.loads(line) for line in fleet.lines]
    assert {one.get("process", one.get("name")) for one in lines} == {"w-1", "w-2", "w-3"}
    assert [one["event"] for one in lines if "process" not in one] == ["worker process started"] * 3
    assert await db.fetchval(LEFT) == 0


async def test_a_worker_that_is_killed_is_started_again_and_its_run_is_rescued(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    async with FleetProcess(dsn, 2, concurrency=1) as fleet:
        await fleet.started()
        run = await tasks.until.enqueue(str(gate))
        begun = await fleet.wait_for("mark", what="begin")
        name = next(one for one in ("w-1", "w-2") if fleet.pid_of(one) == begun["pid"])
        os.kill(begun["pid"], signal.SIGKILL)
        gate.touch()
        ended = await fleet.wait_for("worker process ended, and is started again")
        assert (ended["name"], ended["how"]) == (name, "SIGKILL")
        assert 0 < ended["delay"] < 1
        await fleet.wait_for("worker started", process=name, count=2)
        assert fleet.pid_of(name) != begun["pid"]
        assert await run.result("60s") == "done"
        assert await outcomes(client, run) == ["lost", "completed"]
        assert await fleet.stop() == 0
    assert await db.fetchval(LEFT) == 0


async def test_a_worker_that_is_told_to_stop_itself_ends_well_and_is_started_again(
    dsn: str, client: Client
) -> None:
    async with FleetProcess(dsn, 2) as fleet:
        await fleet.started()
        run = await tasks.sleep.enqueue(1)
        begun = await fleet.wait_for("mark", what="begin")
        os.kill(begun["pid"], signal.SIGTERM)
        ended = await fleet.wait_for("worker process ended, and is started again")
        assert ended["how"] == "exit code 0"
        assert await outcomes(client, run) == ["completed"]
        await fleet.wait_for("worker started", process=ended["name"], count=2)
        assert await fleet.stop() == 0


async def test_a_second_signal_ends_all_at_once_and_their_runs_go_back(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    async with FleetProcess(dsn, 2, concurrency=1, grace="1h", patient=True) as fleet:
        await fleet.started()
        runs = await one_on_each(fleet, tmp_path / "never", 2)
        fleet.signal(signal.SIGTERM)
        await fleet.wait_for("worker stops: no new work is taken in", count=2)
        fleet.signal(signal.SIGTERM)
        assert await fleet.ended() == 130
        assert [await outcomes(client, run) for run in runs] == [["released"]] * 2
        assert not fleet.heard("worker process did not end in time, and was killed")
    assert await db.fetchval("SELECT count(*) FROM openqueue.workers") == 0


@pytest.mark.parametrize("everyone", [False, True], ids=["group of the parent", "every process"])
async def test_a_signal_to_a_whole_group_is_one_to_each(
    dsn: str, client: Client, everyone: bool, tmp_path: Path
) -> None:
    """Ctrl-C goes to a terminal's group; some supervisors signal every process there is."""
    gate = tmp_path / "open"
    async with FleetProcess(dsn, 2, concurrency=1) as fleet:
        await fleet.started()
        runs = await one_on_each(fleet, gate, 2)
        os.killpg(fleet.pid, signal.SIGINT)
        if everyone:
            for name in ("w-1", "w-2"):
                os.kill(fleet.pid_of(name), signal.SIGINT)
        await all_drain(fleet, gate, 2)
        assert await fleet.ended() == 0
        assert [await outcomes(client, run) for run in runs] == [["completed"]] * 2


async def test_workers_whose_parent_is_killed_finish_what_they_run_and_leave(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    async with FleetProcess(dsn, 2, concurrency=1) as fleet:
        await fleet.started()
        pids = [fleet.pid_of(name) for name in ("w-1", "w-2")]
        runs = await one_on_each(fleet, gate, 2)
        waiting = await tasks.sleep.options(delay="1h").enqueue(1)
        fleet.signal(signal.SIGKILL)
        await all_drain(fleet, gate, 2)
        await fleet.wait_for("worker stopped", count=2)
        await eventually(lambda: all(map(is_gone, pids)), what="the workers have ended")
        assert [await outcomes(client, run) for run in runs] == [["completed"]] * 2
        assert (await waiting.info()).status == "scheduled"
    assert await db.fetchval("SELECT count(*) FROM openqueue.workers") == 0


async def test_the_parent_serves_the_health_of_all(dsn: str, db: asyncpg.Connection, client: Client) -> None:
    port = free_port()
    async with FleetProcess(dsn, 2, health=port, grace="1h") as fleet:
        await fleet.started()
        await eventually(lambda: ask(port, "/ready")[0] == 200, what="ready")
        status, told = ask(port, "/live")
        assert (status, told["worker"], told["state"], told["database"]) == (200, "w", "running", True)
        assert [(one["worker"], one["pid"], one["restarts"]) for one in told["processes"]] == [
            (name, fleet.pid_of(name), 0) for name in ("w-1", "w-2")
        ]
        async with db.transaction():  # so that it is not there again before it was missed
            await db.execute("LOCK TABLE openqueue.workers IN EXCLUSIVE MODE")
            os.kill(fleet.pid_of("w-2"), signal.SIGKILL)
            _, told = await eventually(
                lambda: (answer := ask(port, "/ready"))[0] == 503 and answer, what="not ready"
            )
            missing = {"w-2: the worker is restarting", "w-2: the worker is starting"}
            assert not missing.isdisjoint(told["faults"])
            assert ask(port, "/live")[0] == 200
        _, told = await eventually(
            lambda: (answer := ask(port, "/ready"))[0] == 200 and answer, what="ready again"
        )
        assert [one["restarts"] for one in told["processes"]] == [0, 1]
        await tasks.sleep.enqueue(3600)
        await fleet.wait_for("mark", what="begin")
        fleet.signal(signal.SIGTERM)
        await fleet.wait_for("worker stops: no new work is taken in", count=2)
        status, told = ask(port, "/ready")
        assert (status, told["state"]) == (503, "draining")
        fleet.signal(signal.SIGTERM)
        assert await fleet.ended() == 130


async def test_a_worker_that_is_frozen_is_noticed_by_its_silence(dsn: str) -> None:
    port = free_port()
    async with FleetProcess(dsn, 2, health=port) as fleet:
        await fleet.started()
        await eventually(lambda: ask(port, "/ready")[0] == 200, what="ready")
        frozen = fleet.pid_of("w-1")
        os.kill(frozen, signal.SIGSTOP)
        try:
            await eventually(
                lambda: ask(port, "/ready")[1]["processes"][0]["loop_idle"] > 3, what="its silence counts"
            )
        finally:
            os.kill(frozen, signal.SIGCONT)
        assert await fleet.stop() == 0


async def test_once_ends_when_all_have_run_what_is_ready(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    await client.enqueue_many([tasks.quick.item(number) for number in range(300)])
    async with FleetProcess(dsn, 2, "--once") as fleet:
        assert await fleet.ended() == 0
        assert {one["number"] for one in fleet.heard("mark", what="ran")} == set(range(300))
        assert len(fleet.heard("worker process started")) == 2
    assert await db.fetchval(LEFT) == 0


async def test_lines_of_several_workers_do_not_run_into_each_other(dsn: str, client: Client) -> None:
    await client.enqueue_many([tasks.quick.item(number) for number in range(600)])
    async with FleetProcess(dsn, 3, "--once") as fleet:
        assert await fleet.ended() == 0
    told = [json.loads(line)["event"] for line in fleet.lines]
    assert told.count("run completed") == 600


async def test_a_fleet_that_cannot_start_says_so_once_with_the_exit_code_of_a_worker(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("def (")
    cases: list[tuple[str, dict[str, str], int, str]] = [
        (dsn, {"modules": "there.is.none"}, 3, "there.is.none"),
        (dsn, {"modules": "", "dirs": str(tmp_path)}, 3, "SyntaxError"),
        (empty_dsn, {}, 5, "Run: openqueue migrate"),
        ("postgresql://app:hunter2@127.0.0.1:1/app", {}, 4, "127.0.0.1:1"),
    ]
    for where, settings, code, said in cases:
        async with FleetProcess(where, 2, **settings) as fleet:
            assert await fleet.ended() == code, fleet.errors
            assert [line[:7] for line in fleet.lines].count("Error: ") == 1
            assert said in fleet.errors
            assert "hunter2" not in fleet.errors
            assert not fleet.heard("worker process ended, and is started again")


async def test_tasks_that_have_become_unusable_end_all_once_a_worker_has_to_start_again(
    dsn: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from openqueue import task\n@task\ndef f() -> None: ...\n")
    async with FleetProcess(dsn, 2, modules="", dirs=str(tmp_path)) as fleet:
        await fleet.started()
        file.write_text("raise RuntimeError('gone')")
        os.kill(fleet.pid_of("w-1"), signal.SIGKILL)
        await fleet.wait_for("worker stopped", process="w-2")
        assert await fleet.ended() == 3
        assert [line[:7] for line in fleet.lines].count("Error: ") == 1
        assert "RuntimeError: gone" in fleet.errors


async def test_a_stop_while_the_workers_still_start_ends_them(dsn: str, tmp_path: Path) -> None:
    said = 'os.write(1, b\'{"event": "importing"}\\n\')'  # at once: two processes say it
    (tmp_path / "slow.py").write_text(f"import os, time\n{said}\ntime.sleep(600)")
    async with FleetProcess(dsn, 2, modules="", dirs=str(tmp_path)) as fleet:
        await fleet.wait_for("importing", count=2)
        pids = [fleet.pid_of(name) for name in ("w-1", "w-2")]
        assert await fleet.stop() == 0
        await eventually(lambda: all(map(is_gone, pids)), what="the workers have ended")


async def test_one_process_is_a_worker_without_a_parent(dsn: str, db: asyncpg.Connection) -> None:
    async with FleetProcess(dsn, 1) as worker:
        await worker.wait_for("worker started")
        (row,) = await db.fetch(ROWS)
        assert (row["name"], row["pid"]) == ("w", worker.pid)
        assert await worker.stop() == 0
        assert not worker.heard("worker process started")
    assert all("process" not in json.loads(line) for line in worker.lines)
