"""`openqueue worker`, `dev`, `health` and `demo`, as processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import IO

import pytest

from tests.support.command import Command
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


class Lines:
    """What a process says on standard error, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._stream: IO[str] = process.stderr
        self.said: list[str] = []

    def until(self, word: str) -> str:
        """Read up to the line with that word."""
        for line in self._stream:
            self.said.append(line)
            if word in line:
                return line
        raise AssertionError(f"never said {word!r}:\n{''.join(self.said)}")


@contextmanager
def started(oq: Command, *arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], Lines]]:
    process = oq.start(*arguments, **env)
    try:
        yield process, Lines(process)
    finally:
        process.kill()
        process.communicate(timeout=240)


def ended(process: subprocess.Popen[str]) -> int:
    return process.wait(timeout=240)


def test_once_runs_what_is_ready_and_exits(oq: Command) -> None:
    for number in range(5):
        oq("enqueue", "post.send", f'{{"to": "{number}"}}', "--allow-unknown")
    answer = oq.run("worker", "--once", "--log-level", "debug")
    assert answer.code == 0
    assert answer.out == ""
    told = [json.loads(line)["event"] for line in answer.err.splitlines()]
    assert told.count("run completed") == 5
    assert oq("runs", "list", "--status", "completed", "--json").json != []


def test_sigterm_lets_what_runs_end(oq: Command) -> None:
    oq("enqueue", "post.wait", '{"seconds": 0.5}', "--allow-unknown")
    with started(oq, "worker", "--log-level", "debug") as (process, lines):
        lines.until("run started")
        process.send_signal(signal.SIGTERM)
        lines.until("run completed")
        lines.until("worker stopped")
        assert ended(process) == 0
    assert [run["status"] for run in oq("runs", "list", "--json").json] == ["completed"]


def test_a_worker_is_listed_with_its_name_and_queues_until_it_leaves(oq: Command) -> None:
    with started(oq, "worker", "--name", "w1", "--queue", "mail:5", "--queue", "slow") as (process, lines):
        lines.until("worker started")
        (row,) = oq("workers", "--json").json
        assert (row["name"], row["queues"], row["pid"]) == ("w1", ["mail", "slow"], process.pid)
        assert row["beat_age"] < 60
        assert "mail, slow" in oq("workers").out
        process.terminate()
        assert ended(process) == 0
    assert oq("workers", "--json").json == []


def test_health_says_whether_a_worker_is_ready(oq: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENQUEUE_HEALTH", "127.0.0.1:0")
    assert oq("health", "--address", "off").out == "database: well\n"
    port = free_port()
    address = f"0.0.0.0:{port}"
    with started(oq, "worker", "--health", address) as (process, lines):
        lines.until("worker started")
        deadline = time.monotonic() + 60
        while (answer := oq("health", "--address", address, "--json")).code and time.monotonic() < deadline:
            pass  # until its first beat is stored
        assert answer.code == 0, answer
        assert answer.json["state"] == "running"
        assert oq("health", "--address", address, "--live").out.endswith("/live: well\n")
        process.terminate()
        assert ended(process) == 0
    gone = oq("health", "--address", address)
    assert gone.code == 1
    assert "does not answer" in gone.out


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"status": "up"}', b"\xff"])
def test_health_says_that_what_answers_is_no_worker(bare: Command, body: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        answer = bare("health", "--address", address)
        server.shutdown()
    assert answer.code == 1
    assert answer.out == (
        f"http://{address}/ready answers, but not as a worker of openqueue does: is this the address that"
        " `openqueue worker --health` was given?\n"
    )


def test_health_names_a_host_that_there_is_not(bare: Command) -> None:
    answer = bare("health", "--address", "nowhere.invalid:9464", "--timeout", "5s")
    assert answer.code == 1
    assert answer.out.startswith("http://nowhere.invalid:9464/ready does not answer: ")


def test_health_is_not_ready_while_a_worker_drains(oq: Command) -> None:
    address = f"127.0.0.1:{free_port()}"
    oq("enqueue", "post.wait", '{"seconds": 60}', "--allow-unknown")
    with started(oq, "worker", "--health", address, "--log-level", "debug") as (process, lines):
        lines.until("run started")
        process.terminate()
        lines.until("worker stops")
        answer = oq("health", "--address", address, "--json")
        assert answer.code == 1
        assert "the worker is draining" in answer.json["faults"]
        assert oq("health", "--address", address, "--live").code == 0


def test_a_worker_that_cannot_work_says_why_by_its_exit_code(bare: Command, empty_dsn: str) -> None:
    bare.add_tasks()
    unreachable = bare.run("worker", OPENQUEUE_DATABASE_URL="postgresql://app:hunter2@127.0.0.1:1/app")
    assert unreachable.code == 4
    assert "127.0.0.1:1" in unreachable.err
    assert "hunter2" not in unreachable.err
    unmigrated = bare.run("worker", OPENQUEUE_DATABASE_URL=empty_dsn)
    assert unmigrated.code == 5
    assert "Run: openqueue migrate" in unmigrated.err


def test_a_watch_says_that_no_worker_is_there_and_goes_on_until_one_is(oq: Command) -> None:
    oq.work()  # so that the task is known; nobody is there afterwards
    with started(oq, "enqueue", "post.send", '{"to": "a@b.c"}', "--watch") as (process, lines):
        said = lines.until("No worker is alive")
        assert "openqueue worker" in said
        oq.work()
        lines.until("completed")
        assert ended(process) == 0
        assert "".join(lines.said).count("No worker is alive") == 1


def test_a_watch_with_a_worker_that_knows_the_task_has_nothing_to_complain_of(oq: Command) -> None:
    with started(oq, "worker") as (process, lines):
        lines.until("worker started")
        answer = oq("enqueue", "post.wait", '{"seconds": 0.2}', "--watch")
        other = oq("enqueue", "post.no", "--watch", "--allow-unknown", "--timeout", "5s")
        process.terminate()
        assert ended(process) == 0
    assert answer.code == 0
    assert "alive" not in answer.err
    assert other.code == 8
    assert "None of the workers that are alive (1) has the task post.no" in other.err


def test_an_interrupted_watch_leaves_the_run_running(oq: Command) -> None:
    with started(oq, "enqueue", "post.send", "--allow-unknown", "--watch") as (process, lines):
        lines.until("enqueued")
        process.send_signal(signal.SIGINT)
        assert ended(process) == 130
    assert [run["status"] for run in oq("runs", "list", "--json").json] == ["queued"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("def (", "SyntaxError"),
        ("from openqueue import task\n@task(nonsense=1)\ndef f() -> None: ...", "nonsense"),
    ],
)
def test_a_broken_module_ends_a_worker_with_3_before_it_takes_work(oq: Command, text: str, said: str) -> None:
    (oq.project / "tasks" / "broken.py").write_text(text)
    answer = oq.run("worker", "--once")
    assert answer.code in (2, 3)
    assert said in answer.err
    assert "broken" in answer.err
    assert oq("workers", "--json").json == []


def test_a_worker_without_any_task_refuses_to_start_and_says_where_it_looked(bare: Command, dsn: str) -> None:
    bare.url = dsn
    missing = bare.run("worker")
    assert missing.code == 3
    assert f"looked for {bare.project / 'tasks'}" in missing.err
    assert "--dir" in missing.err
    tasks = bare.project / "tasks"
    tasks.mkdir()
    empty = bare.run("worker", "--once")
    assert empty.code == 3
    assert empty.err.startswith(f"Error: No task was found in {tasks} (no Python file).")
    assert "tasks/hello.py" in empty.err
    (tasks / "hello.py").write_text("def hello() -> None: ...\n")
    (bare.project / "plain.py").write_text("")
    undecorated = bare.run("worker", "--dir", "tasks", "--module", "plain")
    assert undecorated.code == 3
    assert undecorated.err.startswith(
        f"Error: No task was found in {tasks} (1 Python file) and module plain."
        " A task is a function under @task (`from openqueue import task`)."
    )
    assert "--module" in undecorated.err
    nothing = bare.run("worker", "--dir", "")
    assert nothing.code == 3
    assert nothing.err.startswith("Error: No task was found: no directory and no module was named.")


def test_an_address_in_use_ends_a_worker_with_3(oq: Command) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = oq.run("worker", "--once", "--health", f"127.0.0.1:{port}")
    assert answer.code == 3
    assert f"health: cannot listen on 127.0.0.1:{port}" in answer.err


def test_dev_follows_changes_and_leaves_nothing_running_which_other_commands_then_say(
    bare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare.add_tasks()
    hello = bare.project / "tasks" / "hello.py"
    with started(bare, "dev") as (process, lines):
        address = lines.until("export OPENQUEUE_DATABASE_URL=").partition("='")[2].rstrip("'\n")
        lines.until("worker started")
        answer = bare("enqueue", "post.send", '{"to": "dev"}', "--watch", "--timeout", "60s")
        assert (answer.code, answer.out) == (0, '"sent to dev"\n'), answer.err
        second = bare("worker")
        assert second.code == 3
        assert "`openqueue dev` runs here" in second.err
        hello.write_text("def (")
        lines.until("waiting for a change")
        hello.write_text("from openqueue import task\n@task\ndef hello() -> str:\n    return 'hi'\n")
        lines.until("worker started")
        assert bare("enqueue", "hello.hello", "--watch", "--timeout", "60s").out == '"hi"\n'
        process.send_signal(signal.SIGINT)
        lines.until("worker stopped")
        assert ended(process) == 0
    for line in (["runs", "list"], ["enqueue", "hello.hello"], ["health"], ["migrate"], ["worker"]):
        answer = bare(*line)
        assert answer.code == 3
        assert answer.err.startswith(
            "Error: The PostgreSQL of this directory (.openqueue/postgres) is stopped"
        )
        assert "Start that in another terminal" in answer.err
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", address)  # as dev says to: it is the same server
    for line in (["runs", "list"], ["migrate", "--check"], ["worker"]):
        assert bare(*line).err.startswith("Error: The PostgreSQL of this directory")
    with started(bare, "dev", OPENQUEUE_DATABASE_URL=address) as (process, lines):
        lines.until("PostgreSQL: your own")
        lines.until("worker started")
        assert bare("runs", "list", "--task", "hello.hello", "--json").json != []
        process.send_signal(signal.SIGINT)
        assert ended(process) == 0
    monkeypatch.delenv("OPENQUEUE_DATABASE_URL")
    (bare.project / "elsewhere").mkdir()
    monkeypatch.chdir(bare.project / "elsewhere")
    assert bare("runs", "list").err.startswith("Error: There is no database: set OPENQUEUE_DATABASE_URL=")


@pytest.mark.parametrize("processes", [1, 2])
def test_dev_that_is_killed_takes_its_workers_with_it(oq: Command, processes: int) -> None:
    with started(oq, "dev", "--no-reload", OPENQUEUE_PROCESSES=str(processes)) as (process, lines):
        for _ in range(processes):
            lines.until("worker started")
        process.kill()
        for _ in range(processes):
            lines.until("worker stopped")
        process.wait(240)
    assert oq("workers", "--json").json == []


def test_dev_in_an_empty_directory_shows_a_first_task(bare: Command, dsn: str) -> None:
    bare.url = dsn
    with started(bare, "dev") as (process, lines):
        lines.until("There is no directory tasks/ yet.")
        lines.until("waiting for a change")
        bare.add_tasks()
        lines.until("worker started")
        process.terminate()
        assert ended(process) == 0


def test_dev_with_an_empty_directory_shows_a_first_task_as_well_and_waits_for_it(
    bare: Command, dsn: str
) -> None:
    bare.url = dsn
    (bare.project / "tasks").mkdir()
    with started(bare, "dev") as (process, lines):
        lines.until("There is no task in tasks/ yet.")
        lines.until("waiting for a change")
        (bare.project / "tasks" / "hello.py").write_text(
            "from openqueue import task\n@task\ndef hello(): ...\n"
        )
        lines.until("worker started")
        process.terminate()
        assert ended(process) == 0


def test_the_demo_tells_its_story_and_leaves_nothing_behind(bare: Command, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("a line\n")
    temporary = tmp_path / ".temporary"
    temporary.mkdir()
    answer = bare.run("demo", str(tmp_path), TMPDIR=str(temporary))
    assert answer.code == 0, answer.err
    for part in (
        "Files indexed: 20",
        ".txt",
        "'Ada was reminded'",
        "retried",
        "completed",
        "kept as 'cancelled'",
    ):
        assert part in answer.out, answer.out
    assert list(temporary.glob("openqueue-demo-*")) == []


def test_the_demo_refuses_what_is_not_a_directory(bare: Command) -> None:
    answer = bare("demo", "nowhere")
    assert answer.code == 2
    assert "DIRECTORY: 'nowhere' is not a directory." in answer.err
