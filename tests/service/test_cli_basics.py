"""The command line as a whole: help, exit codes, and what is said when something is wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import openqueue
from openqueue import errors
from openqueue.cli.commands import COMMANDS
from openqueue.cli.exits import EXITS, exit_code
from openqueue.cli.main import app
from openqueue.settings import Settings
from tests.support.command import Command

SECRET = "hunter2"
NOWHERE = f"postgresql://app:{SECRET}@127.0.0.1:1/app"
READERS = (
    ["runs", "list"],
    ["runs", "show", "01981f00-5a5e-7c6e-9f0a-0123456789ab"],
    ["runs", "cancel", "01981f00-5a5e-7c6e-9f0a-0123456789ab"],
    ["runs", "retry", "01981f00-5a5e-7c6e-9f0a-0123456789ab"],
    ["tasks"],
    ["workers"],
    ["health"],
    ["enqueue", "post.send"],
    ["migrate", "--check"],
)


def commands(group: Any = None, name: str = "") -> Iterator[str]:
    group = group or typer.main.get_command(app)
    for word in group.commands:
        command = group.get_command(None, word)
        if hasattr(command, "commands"):
            yield from commands(command, f"{name}{word} ")
        else:
            yield f"{name}{word}"


def test_the_commands_are_those_of_the_manual() -> None:
    assert sorted(commands()) == sorted(
        ["dev", "demo", "worker", "migrate", "enqueue", "tasks", "workers", "health"]
        + [f"runs {word}" for word in ("list", "show", "cancel", "retry")]
    )


def test_the_list_of_commands_has_the_first_line_of_each() -> None:
    group: Any = typer.main.get_command(app)
    for name, line in COMMANDS.items():
        assert group.get_command(None, name).help.partition("\n\n")[0] == line


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_help_explains_and_shows_an_example(bare: Command, command: str) -> None:
    answer = bare(*command.split(), "--help")
    assert answer.code == 0
    assert "Examples" in answer.out
    assert f"$ openqueue {command}" in answer.out
    assert "None" not in answer.out


def test_help_is_there_within_a_quarter_of_a_second(bare: Command) -> None:
    """With a bound six times as wide, and the fastest of three: other tests run beside this one."""
    fastest = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        assert bare.run("--help").code == 0
        fastest = min(fastest, time.perf_counter() - begin)
    assert fastest < 1.5


def test_help_imports_nothing_that_is_heavy(bare: Command) -> None:
    answer = bare.run("--help", PYTHONPROFILEIMPORTTIME="1")
    for heavy in ("asyncpg", "pydantic", "structlog", "asyncio", "openqueue.app", "openqueue.cli.runs"):
        assert not re.search(rf"\| +{re.escape(heavy)}$", answer.err, re.MULTILINE), heavy


def test_the_version_is_that_of_the_package(bare: Command) -> None:
    assert bare("--version").out == f"openqueue {openqueue.__version__}\n"


def test_every_error_has_an_exit_code_and_every_code_is_used_once() -> None:
    codes = [one.code for one in EXITS]
    assert len(set(codes)) == len(codes)
    ours = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert {exit_code(kind("x")) for kind in ours} <= set(codes)
    assert exit_code(errors.ConfigError("x")) == 3
    assert exit_code(errors.OpenQueueError("x")) == 1
    assert exit_code(TimeoutError()) == 8


@pytest.mark.parametrize(
    "line",
    [
        ["nonsense"],
        ["runs", "list", "--nonsense"],
        ["runs", "show", "not-an-id"],
        ["runs", "list", "--limit", "x"],
    ],
)
def test_a_wrong_command_line_ends_with_2(bare: Command, line: list[str]) -> None:
    answer = bare(*line)
    assert answer.code == 2
    assert "Usage:" in answer.err


@pytest.mark.parametrize("line", [*READERS, ["worker"]], ids=" ".join)
def test_without_a_database_every_command_says_what_to_do(bare: Command, line: list[str]) -> None:
    answer = bare(*line)
    assert answer.code == 3
    assert "OPENQUEUE_DATABASE_URL" in answer.err
    assert "openqueue dev" in answer.err
    assert answer.out == ""


@pytest.mark.parametrize("line", READERS, ids=" ".join)
def test_a_database_that_cannot_be_reached_ends_with_4_and_is_named_without_its_password(
    bare: Command, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", NOWHERE)
    answer = bare(*line)
    assert answer.code == 4
    assert "127.0.0.1:1" in answer.err
    assert SECRET not in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("line", READERS, ids=" ".join)
def test_a_missing_schema_ends_with_5_and_names_the_remedy(
    bare: Command, line: list[str], empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", empty_dsn)
    answer = bare(*line)
    assert answer.code == 5
    assert "openqueue migrate" in answer.out + answer.err


def test_a_bad_settings_file_ends_with_3_and_names_the_line(bare: Command) -> None:
    (bare.project / "openqueue.toml").write_text("\nconcurency = 5\n")
    answer = bare("worker")
    assert answer.code == 3
    assert answer.err == (
        "Error: openqueue.toml, line 2: there is no setting 'concurency'. Did you mean 'concurrency'?\n"
    )


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--concurrency", "many", "concurrency: 'many' is not a whole number"),
        ("--grace", "soon", "grace: 'soon' is not a duration."),
        ("--queue", "mail:x", "queues: 'mail:x': 'x' is not a bound"),
        ("--health", "here", "health: 'here' is not an address."),
        ("--log-format", "xml", "log_format: 'xml' is not one of auto, console, json."),
    ],
)
def test_a_bad_flag_of_the_worker_is_named(bare: Command, flag: str, value: str, said: str) -> None:
    answer = bare("worker", flag, value)
    assert answer.code == 3
    assert answer.err.startswith(f"Error: {said}")


def test_a_variable_that_sets_nothing_is_told(bare: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_ULR", "postgresql://x/y")
    answer = bare("runs", "list")
    assert answer.err.startswith(
        "Warning: OPENQUEUE_DATABASE_ULR is not a setting and is ignored. Did you mean"
    )


def test_with_debug_the_traceback_is_shown(bare: Command) -> None:
    answer = bare.run("runs", "list", OPENQUEUE_DEBUG="1")
    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "ConfigError" in answer.err


def test_a_reader_that_goes_away_hears_no_complaint(oq: Command) -> None:
    process = oq.start("runs", "list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.fixture
def manual() -> str:
    file = Path(openqueue.__file__).parent.parent / "docs" / "cli.md"
    if not file.exists():
        pytest.skip("an installed package has no docs")
    return file.read_text(encoding="utf-8")


def test_the_manual_has_the_table_of_exit_codes(manual: str) -> None:
    for one in EXITS:
        assert f"| {one.code} | {one.name} | {one.meaning} |" in manual


def test_the_manual_has_every_setting(manual: str) -> None:
    for name, field in Settings.model_fields.items():
        assert f"`{field.alias or name}`" in manual
