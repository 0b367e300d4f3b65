"""Where tasks with `executor="process"` may stand, and what is said where they cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openqueue import InvalidOption, InvalidTask, task
from openqueue.tasks.options import TaskOptions
from openqueue.worker.processes.remote import pack_error, unpack_error
from tests.support.process_tasks import Picky
from tests.support.transcript import environment

SCRIPT = """
import asyncio, os
from openqueue import Context, RunFailed, Worker, task

class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")

@task
def by_thread() -> int:
    return os.getpid()

@task(executor="process", max_attempts=1, give_up_on=Odd)
def outside(fail: bool, *, ctx: Context = Context.injected) -> list[object]:
    if fail:
        raise Odd(1, 2)
    return [os.getpid() != os.getppid(), by_thread.enqueue_sync().task, ctx.task]

async def main() -> None:
    async with Worker(tasks=[outside, by_thread]):
        print(await (await outside.enqueue(False)).result(timeout="60s"))
        try:
            await (await outside.enqueue(True)).result(timeout="60s")
        except RunFailed as error:
            print(error.error["type"], error.error["message"])
"""
GUARDED = "\nif __name__ == '__main__':\n    asyncio.run(main())\n"
UNGUARDED = """
async def work() -> None:
    async with Worker(tasks=[outside]):
        try:
            await (await outside.enqueue(False)).result(timeout="60s")
        except RunFailed as error:
            print(error.error["message"])

asyncio.run(work())
"""


def call(directory: Path, *line: str, dsn: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *line],
        cwd=directory,
        env=environment(OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("line", [["program.py"], ["-m", "program"]], ids=["script", "module"])
def test_a_task_of_the_program_itself_is_found(tmp_path: Path, dsn: str, line: list[str]) -> None:
    (tmp_path / "program.py").write_text(SCRIPT + GUARDED)
    assert call(tmp_path, *line, dsn=dsn) == [
        "[True, 'program.by_thread', 'program.outside']",
        "program.Odd 1 and 2",
    ]


def test_a_program_that_starts_a_worker_when_it_is_imported_is_told_so(tmp_path: Path, dsn: str) -> None:
    (tmp_path / "program.py").write_text(SCRIPT + UNGUARDED)
    (said,) = call(tmp_path, "program.py", dsn=dsn)
    assert "Put the start below `if __name__ == '__main__':`" in said


def test_a_directory_off_the_path_is_found_by_the_worker_and_by_its_processes(
    tmp_path: Path, dsn: str
) -> None:
    (tmp_path / "elsewhere" / "jobs").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere" / "jobs" / "mail.py").write_text(
        "import os\nfrom openqueue import task\n\n@task(executor='process')\n"
        "def send(n: int) -> int:\n    return n + 1\n"
    )
    directory = str(tmp_path / "elsewhere" / "jobs")

    def openqueue(*words: str) -> str:
        return "\n".join(call(tmp_path / "here", "-m", "openqueue", *words, dsn=dsn))

    openqueue("enqueue", "mail.send", '{"n": 1}', "--allow-unknown")
    openqueue("worker", "--once", "--dir", directory, "--task-processes", "1")
    assert "completed" in openqueue("runs", "list")


def test_an_async_def_has_no_executor_and_a_local_function_no_process() -> None:
    async def in_loop() -> None: ...

    def local() -> None: ...

    for executor in ("thread", "process"):
        with pytest.raises(InvalidTask, match="is for `def` tasks, and this one is `async def`"):
            task(executor=executor)(in_loop)
    with pytest.raises(InvalidTask, match="declared inside a function"):
        task(executor="process")(local)
    assert task(executor="thread")(local).in_thread


@pytest.mark.parametrize("wrong", ["fork", "", 1])
def test_an_executor_is_one_of_two(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^executor: "):
        TaskOptions.of(executor=wrong)
    assert TaskOptions.of(executor="process").describe()["executor"] == "process"


class Slotted(Exception):
    __slots__ = ()


class Local:
    class Nested(Exception):
        pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a"),
        OSError(2, "no"),
        SystemExit(3),
        Slotted("s"),
        Local.Nested("n"),
        Picky(7, why="w"),
        ExceptionGroup("g", [ValueError("v")]),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_crosses_is_of_its_class_and_says_the_same(error: BaseException) -> None:
    back = unpack_error(pack_error(error, TaskOptions()).encode(), {})
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_an_error_of_a_class_that_only_the_process_knows_keeps_its_name_and_whether_it_is_retried() -> None:
    class Hidden(Exception):
        pass

    for options, gives_up in ((TaskOptions(), False), (TaskOptions(give_up_on=(Hidden,)), True)):
        back = unpack_error(pack_error(Hidden("h"), options).encode(), {})
        assert type(back).__name__ == ("RemoteGiveUp" if gives_up else "RemoteError")
        assert str(back).endswith("Hidden: h")
