"""The examples run, print what they should, and leave nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from openqueue.dev.account import server_account
from openqueue.dev.binaries import find_binaries
from tests.support.eventually import eventually
from tests.support.transcript import alike, environment, running, start

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

PRINTED = {
    "01_hello.sh": """
        00000000-0000-0000-0000-000000000000: waiting for its end; Ctrl-C leaves it running.
        00:00:00  enqueued   queue=default run_at=00:00:00 priority=0
        00:00:00  started    attempt 1
        00:00:00  completed  attempt 1
        "Hello, World!"
        """,
    "02_enqueue_in_transaction.py": """
        committed: Dear Ada, thank you for order 1.
        rolled back: the payment was refused
        orders: 1
        and nobody thanks Bob: there is no such run
        """,
    "03_results_and_errors.py": """
        result: 3 remainder 1
        failed: ZeroDivisionError - integer division or modulo by zero
        refused: b
        still scheduled
        cancel: cancelled
        status: cancelled
        """,
    "04_retries_snooze_giveup.py": """
        https://example.org answered at attempt 3
            enqueued
            started 1
            retried 1 https://example.org does not answer
            started 2
            retried 2 https://example.org does not answer
            started 3
            completed 3
        it is time, at attempt 1
            enqueued
            started 1
            snoozed 1
            started 1
            completed 1
        failed after 1 attempt of 25: there is no 1 Nowhere Lane
        """,
    "05_progress_and_logs.py": """
        the most common word: the (5 times)
        progress: {'lines': {'of': 4, 'read': 4}}
        meta: {'tenant': 42} tags: ('text',)
        log: {'level': 'warning', 'fields': {'line': 3}, 'message': 'an empty line'}
        log: {'level': 'info', 'fields': {'words': 18, 'different': 11}, 'message': 'counted'}
        """,
    "11_sqlalchemy.py": """
        committed: Dear Ada, thank you for order 1.
        rolled back: nobody ordered
        """,
    "12_without_await.py": """
        8 customers thanked
        Bob's is scheduled
        then it is cancelled
        """,
    "16_limits.py": """
        at once, at most: 2
        Ada: flight
        Ada: hotel
        Bob: train
        Ada: car
        eleven calls at 20/s take half a second: True
        while it is paused: queued
        Bob's two, behind Ada's twenty, are among the first five: True
        letters: 1 at once, round_robin, said at run time
    """,
    "17_batches.py": """
        Ada: 11
        nobody: there is no such phone
        Bob: 11
        asleep: scheduled
        said of each: one request {'notices': 4}
    """,
    "18_schedules.py": """
        at 02:30 on Monday to Friday
        refused: cron
        True
        backfilled: 3
        and again: 0
        sales report of 2026-03-05 07:30 UTC, later
        sales report of 2026-03-06 07:30 UTC, later
        sales report of 2026-03-09 06:30 UTC, later
        paused
        """,
    "19_history.py": """
        failed: {'a': 12, 'b': 0} ZeroDivisionError
        failed: {'a': 12, 'b': 0} ZeroDivisionError
        completed: 4
        of line 3: {'a': 12, 'b': 0}
        again with another input: {'quotient': 2, 'remainder': 2}
        ann did: rerun, because of a typo
        """,
    "20_monitoring.sh": """
        ! warning  pauses
        Queue parcels is paused until it is resumed (the year ends), and 1 job waits for that.
        Somebody meant it to be so. It is told in case nobody remembers.
        $ openqueue queues resume parcels

        1 check: 1 warning
        exit code 9
        parcels ready: 1
        1 check: all is well
        exit code 0
        openqueue_queue_jobs gauge
        """,
    "21_logs.py": """
        a run, with the logger's name and what `extra=` gave:
        info: charging Ada {'cents': 250000, 'logger': 'tasks.billing'}
        warning: a large sum {'cents': 250000, 'logger': 'tasks.billing'}
        info: charged {'receipt': 'Ada-250000'}
        one that failed; its traceback is kept, the token is not:
        info: charging nobody {'cents': 100, 'logger': 'tasks.billing'}
        error: not charged {'logger': 'tasks.billing'} LookupError: there is no such customer, token=***
        a task that keeps warnings only:
        """,
}


def lines(text: str) -> list[str]:
    """What it printed; how often a task has snoozed until it was time is a matter of the clock."""
    printed = "\n".join(line.strip() for line in alike(text))
    return re.sub(r"(started 1\nsnoozed 1\n)+", r"\1", printed).splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the examples, so that they cannot lean on the checkout."""
    return shutil.copytree(
        EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )


@pytest.fixture
async def worker(project: Path, dsn: str) -> AsyncIterator[str]:
    """A worker with the examples' tasks."""
    environ = environment(OPENQUEUE_DATABASE_URL=dsn)
    async with running(["openqueue", "worker", "--grace", "1s"], project, environ, until="worker started"):
        yield dsn


def call(line: list[str], project: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line,
        cwd=project,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("name", PRINTED)
def test_a_numbered_example_prints_what_it_should(name: str, project: Path, worker: str) -> None:
    line = ["/bin/sh", name] if name.endswith(".sh") else [sys.executable, name]
    done = call(line, project, OPENQUEUE_DATABASE_URL=worker)
    assert lines(done.stdout) == lines(PRINTED[name]), done.stdout
    assert done.returncode == 0


def test_the_example_in_sql_runs_in_psql(project: Path, worker: str) -> None:
    psql = shutil.which("psql") or str(find_binaries(server_account()).directory / "psql")
    done = call([psql, "-X", "-t", "-A", "-f", "06_enqueue_from_sql.sql", worker], project)
    begin, commit, many, cancelled, run, *events, error, detail, hint = lines(done.stdout)[:10]
    assert (begin, commit, many, cancelled) == ("BEGIN", "COMMIT", "3", "cancelled")
    assert run.startswith('hello.greet|{"name": "SQL"}|')
    assert events == ["enqueued", "cancelled"]
    assert "must be a JSON object" in error, (detail, hint)


def start_demo(project: Path, home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, str(project / "index_directory.py"), *arguments]
    return start(line, home, environment(TMPDIR=str(home)), home / "demo.log")


@pytest.fixture
def home() -> Iterator[Path]:
    """The demo's temporary directory, with a path short enough for a socket."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with all sorts of files, of which the demo can index a hundred."""
    directory = tmp_path / "files"
    (directory / "deep" / "er").mkdir(parents=True)
    for number in range(96):
        (directory / "deep" / f"module_{number}.py").write_text(
            f"import os\nimport json\n\nnumber = {number}\n"
        )
    (directory / "empty").write_text("")
    (directory / "binary.bin").write_bytes(bytes(range(256)) * 100)
    (directory / "deep" / "er" / "broken.py").write_bytes(b"import \xff\xfe (((")
    (directory / "spaces and ünïcode.TXT").write_text("one\ntwo\n")
    (directory / "dangling").symlink_to("nowhere")
    os.mkfifo(directory / "pipe")
    return directory


def left_behind(home: Path, project: Path) -> list[str]:
    """Files of a demo, and processes that work in its directories."""
    found = [str(path) for path in home.iterdir() if path.name.startswith("openqueue")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where = (process / "cwd").readlink()
        except OSError:
            continue
        if where.is_relative_to(home) or where.is_relative_to(project):
            found.append(f"{process.name}: {(process / 'cmdline').read_bytes()!r}")
    return found


def test_the_demo_indexes_every_file_and_leaves_nothing(project: Path, home: Path, files: Path) -> None:
    demo = start_demo(project, home, str(files))
    assert demo.wait(timeout=240) == 0, (home / "demo.log").read_text()
    printed = lines((home / "demo.log").read_text())
    assert f"indexing 100 files below {files}" in printed
    assert "python 97 files 385 lines" in printed
    assert "os 96 · json 96" in printed
    assert f"failed there is no file {files}/no such file" in printed
    assert "Every result is right." in printed
    assert any(line.startswith("cancelled files.watch, while it ran") for line in printed)
    assert left_behind(home, project) == []


async def test_the_demo_leaves_nothing_when_it_is_interrupted(project: Path, home: Path) -> None:
    demo = start_demo(project, home, sysconfig.get_path("stdlib"))
    log = home / "demo.log"
    await eventually(lambda: "enqueued" in log.read_text() or demo.poll() is not None, what="work begins")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=240) == 1, log.read_text()
    assert log.read_text().splitlines()[-1] == "stopped"
    assert left_behind(home, project) == []


def test_the_demo_fails_when_a_result_is_wrong(project: Path, home: Path, files: Path) -> None:
    tasks = project / "tasks" / "files.py"
    right = "digest = sha256(content).hexdigest()"
    assert right in tasks.read_text()
    tasks.write_text(tasks.read_text().replace(right, "digest = sha256(content + b'!').hexdigest()"))
    demo = start_demo(project, home, str(files))
    assert demo.wait(timeout=240) == 1
    assert "100 results are wrong" in (home / "demo.log").read_text()


def test_the_demo_fails_when_a_worker_ends(project: Path, home: Path, files: Path) -> None:
    (project / "tasks" / "broken.py").write_text("import nothing_of_that_name")
    demo = start_demo(project, home, str(files))
    assert demo.wait(timeout=240) == 1
    assert "nothing_of_that_name" in (home / "demo.log").read_text()
    assert left_behind(home, project) == []
