"""Mistakes at the shell: on the command line, in the settings, and in what a worker is to import."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.story.mistakes import Mistake, check
from tests.support.command import Command
from tests.support.transcript import environment


def file(name: str, text: str | bytes) -> Callable[[Path], None]:
    """Something that writes a file of the project."""

    def write(project: Path) -> None:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    return write


TASK = "from openqueue import task\n@task\ndef hello(): ...\n"
TWICE = 'from openqueue import task\n@task(name="a")\ndef x(): ...\n@task(name="a")\ndef y(): ...\n'

LINES = [
    Mistake("a command misspelt", "wroker", 2, "'wroker'", "No such command", "Did you mean 'worker'"),
    Mistake("a command of a group misspelt", "runs lst", 2, "'lst'", "No such command", "Did you mean 'list'"),
    Mistake("a flag misspelt", "runs list --statsu failed", 2, "--statsu", "No such option", "--status"),
    Mistake("a status misspelt", "runs list --status faild", 2, "--status", "there is no status 'faild'", "Did you mean 'failed'?"),
    Mistake("arguments that are not JSON", "enqueue a.b {", 2, "'{'", "is not JSON", "JSON:"),
    Mistake("a time without its zone", "enqueue a.b --run-at 2030-01-01T00:00", 2, "--run-at", "has no time zone", "Write it with its time zone"),
    Mistake("a negative delay", "enqueue a.b --delay=-1s", 2, "--delay", "is negative", "Write '30s'"),
    Mistake("part of an id", "runs show 0198", 2, "'0198'", "is not the id of a run", "openqueue runs list"),
    Mistake("no database", "runs list", 3, "OPENQUEUE_DATABASE_URL", "There is no database", "openqueue dev"),
    Mistake("a wrong port", "runs list --database-url postgresql://me:hunter2@127.0.0.1:1/x", 4, "127.0.0.1:1", "Cannot reach", "are host and port right?"),
    Mistake("a password that is not encoded", "runs list --database-url postgresql://me:hunter2@b@host/x", 2, "--database-url", "that is not encoded", "%40"),
]  # fmt: skip

SETTINGS = [
    (file("openqueue.toml", "\nconcurency = 5\n"), {}, Mistake("a key misspelt", "config", 3, "openqueue.toml, line 2", "there is no setting 'concurency'", "Did you mean 'concurrency'?")),
    (file("openqueue.toml", "grace = [1]\r\n"), {}, Mistake("a value of the wrong type", "config", 3, "openqueue.toml, line 1: grace: [1]", "is not a duration", "Write '30s'")),
    (file("openqueue.toml", "grace = 5s\n"), {}, Mistake("TOML that is none", "config", 3, "line 1", "is not TOML", "Text goes in quotes")),
    (file("openqueue.toml", "[openqueue]\ngrace = 1\n"), {}, Mistake("a table too much", "config", 3, "openqueue.toml, line 1", "This file has no tables", "write the settings at its top")),
    (file("openqueue.toml", 'grace = "5s"'.encode("utf-16")), {}, Mistake("a file in UTF-16", "config", 3, "openqueue.toml", "is not UTF-8 text", "Save it as UTF-8")),
    (None, {"OPENQUEUE_CONFIG": "other.toml"}, Mistake("a file that is not there", "config", 3, "OPENQUEUE_CONFIG", "there is no file 'other.toml'", "Correct or unset it")),
    (None, {"OPENQUEUE_GRACE": "soon"}, Mistake("a variable's value", "config", 3, "OPENQUEUE_GRACE", "is not a duration", "Write '30s'")),
    (None, {"OPENQUEUE_DATABASE_ULR": "x"}, Mistake("a variable misspelt", "config", 0, "OPENQUEUE_DATABASE_ULR", "is not a setting and is ignored", "Did you mean 'OPENQUEUE_DATABASE_URL'")),
    (None, {"OPENQUEUE_SCHEMA": "pg_mine"}, Mistake("a schema's name that is taken", "runs list", 3, "'pg_mine'", "is reserved for PostgreSQL itself", "Choose another name")),
]  # fmt: skip

WORKER = [
    (None, Mistake("no directory of tasks", "worker", 3, "tasks", "does not exist", "--dir or --module")),
    (file("tasks/a.py", ""), Mistake("no task", "worker", 3, "tasks (1 Python file)", "No task was found", "under @task")),
    (file("tasks/a.py", TASK), Mistake("a module that is not there", "worker --module nowhere", 3, "'nowhere'", "There is no module", "Correct --module")),
    (file("tasks/a.py", "def x(:\n"), Mistake("a syntax error", "worker", 3, "a.py\", line 1", "cannot be imported", "SyntaxError")),
    (file("tasks/a.py", "import nowhere\n"), Mistake("a module that imports what is not there", "worker", 3, "a.py\", line 1", "cannot be imported", "No module named 'nowhere'")),
    (file("tasks/a.py", TWICE), Mistake("two tasks of one name", "worker", 3, "a.py:2 and", "two tasks are called 'a'", "Rename one")),
    (file("tasks/a.py", TASK), Mistake("a bound that is none", "worker --queue mail:x", 2, "--queue: 'mail:x'", "is not a bound", "Write a queue as")),
    (file("tasks/a.py", TASK), Mistake("a health address that is taken", "worker --health PORT", 3, "127.0.0.1:", "cannot listen on", "Choose another address")),
]  # fmt: skip

ROWS = [*LINES, *(one for _, _, one in SETTINGS), *(one for _, one in WORKER)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in set(environment()) ^ set(os.environ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def port() -> Iterator[int]:
    """A port that something listens on."""
    with ExitStack() as stack:
        yield stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]


def call(command: Command, mistake: Mistake) -> str:
    """Make the mistake; what was said of it, on standard error only."""
    assert isinstance(mistake.made, str)
    answer = command(*shlex.split(mistake.made))
    assert answer.code == mistake.ends, answer.err
    assert mistake.ends == 0 or answer.out == ""
    return answer.err


@pytest.mark.parametrize("mistake", LINES, ids=str)
def test_a_mistake_on_the_command_line_is_answered(
    mistake: Mistake, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(call(Command(project, None, capsys), mistake), mistake)


@pytest.mark.parametrize(("make", "variables", "mistake"), SETTINGS, ids=[one.name for *_, one in SETTINGS])
def test_a_mistake_in_the_settings_is_answered_with_its_place(
    make: Callable[[Path], None] | None,
    variables: dict[str, str],
    mistake: Mistake,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if make:
        make(project)
    check(call(Command(project, None, capsys), mistake), mistake)


@pytest.mark.parametrize(("make", "mistake"), WORKER, ids=[one.name for *_, one in WORKER])
def test_a_mistake_in_what_a_worker_is_given_is_answered_before_it_takes_any_work(
    make: Callable[[Path], None] | None,
    mistake: Mistake,
    project: Path,
    port: int,
    dsn: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if make:
        make(project)
    assert isinstance(mistake.made, str)
    answer = Command(project, dsn, capsys).run(*mistake.made.replace("PORT", str(port)).split())
    assert answer.code == mistake.ends, answer.err
    check(answer.err, mistake)


def test_a_file_written_on_windows_is_read_as_any_other(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file("openqueue.toml", b'\xef\xbb\xbfgrace = "5s"\r\nthreads = 3\r\n')(project)
    answer = Command(project, None, capsys)("config", "--json")
    told = {one["key"]: (one["value"], one["place"]) for one in answer.json}
    assert told["grace"] == (5.0, "openqueue.toml, line 1")
    assert told["threads"] == (3, "openqueue.toml, line 2")
