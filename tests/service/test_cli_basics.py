"""The command line as a whole: help, exit codes, and what is said when something is wrong."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
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
    ["runs", "watch"],
    ["runs", "watch", "01981f00-5a5e-7c6e-9f0a-0123456789ab"],
    ["tasks"],
    ["workers"],
    ["queues"],
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


RUNS = [
    "list",
    "count",
    "show",
    "logs",
    "watch",
    "cancel",
    "retry",
    "promote",
    "move",
    "prioritize",
    "rerun",
    "delete",
    "prune",
]


def test_the_commands_are_those_of_the_manual() -> None:
    assert sorted(commands()) == sorted(
        [
            "dev",
            "demo",
            "worker",
            "migrate",
            "schedule add",
            "schedule update",
            "schedule list",
            "schedule show",
            "schedule next",
            "schedule pause",
            "schedule resume",
            "schedule trigger",
            "schedule backfill",
            "schedule remove",
            "enqueue",
            "tasks list",
            "tasks show",
            "tasks limit",
            "keys list",
            "keys show",
            "keys limit",
            "tasks pause",
            "tasks resume",
            "workers",
            "queues list",
            "queues show",
            "queues limit",
            "queues pause",
            "queues resume",
            "config",
            "metrics list",
            "metrics dashboard",
            "doctor",
            "top",
            "audit list",
            "health",
            "bench",
            "completion",
        ]
        + [f"runs {word}" for word in RUNS]
    )


def test_the_list_of_commands_has_the_first_line_of_each() -> None:
    group: Any = typer.main.get_command(app)
    for name, line in COMMANDS.items():
        assert group.get_command(None, name).help.partition("\n\n")[0] == line


def test_a_paragraph_of_help_is_broken_where_the_terminal_ends() -> None:
    group: Any = typer.main.get_command(app)
    for name, sub in (("worker", None), ("runs", "prune"), ("bench", None)):
        command = group.get_command(None, name)
        text = (command.commands[sub] if sub else command).help
        assert "\n\n" in text
        assert not re.search(r"[^\n]\n[^\n]", text)


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_help_explains_and_shows_an_example(bare: Command, command: str) -> None:
    answer = bare(*command.split(), "--help")
    assert answer.code == 0
    assert "Examples" in answer.out
    assert f"$ openqueue {command}" in answer.out
    assert "None" not in answer.out


def test_help_is_there_within_a_quarter_of_a_second(bare: Command) -> None:
    """Measured as processor time, the least of three: other tests run beside this one."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert bare.run("--help").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1.5, spent


LIGHT = {"_version", "cli", "durations"} | {
    f"cli.{name}" for name in ("commands", "exits", "main", "output", "pipes", "streams")
}


def test_help_imports_only_what_lists_the_commands(bare: Command) -> None:
    answer = bare.run("--help", PYTHONPROFILEIMPORTTIME="1")
    ours = set(re.findall(r"\| +openqueue\.([\w.]+)$", answer.err, re.MULTILINE))
    assert ours - {"errors", "redaction", "__main__"} <= LIGHT


def test_help_imports_nothing_that_is_heavy(bare: Command) -> None:
    answer = bare.run("--help", PYTHONPROFILEIMPORTTIME="1")
    for heavy in ("asyncpg", "pydantic", "structlog", "asyncio", "openqueue.clients", "openqueue.cli.runs"):
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
        ["runs", "show"],
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


DURATION = (
    "is not a duration. Write '30s', '5m', '1h30m', '2d', '500ms', ISO 8601 ('PT5M') or a number of seconds."
)
RUN_ID = (
    "is not the id of a run. It looks like 01981f00-5a5e-7c6e-9f0a-0123456789ab;"
    " `openqueue runs list` shows those that there are."
)
ADDRESS = "is not an address. Write host:port (such as 127.0.0.1:9464), a port alone, on or off."
MOMENT = "Write it with its time zone, such as 2026-12-24T18:00+01:00 or 2026-12-24T17:00Z."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("worker --concurrency 0", "--concurrency: '0' is not a whole number from 1 to 100000."),
        ("worker --concurrency many", "--concurrency: 'many' is not a whole number from 1 to 100000."),
        ("worker --processes 0", "--processes: '0' is not a whole number from 1 to 256."),
        ("worker --processes -1", "--processes: '-1' is not a whole number from 1 to 256."),
        ("worker --task-processes 0", "--task-processes: '0' is not a whole number from 1 to 100000."),
        ("worker --threads 1.5", "--threads: '1.5' is not a whole number from 1 to 100000."),
        ("worker --grace nonsense", f"--grace: 'nonsense' {DURATION}"),
        ("worker --queue mail:x", "--queue: 'mail:x': 'x' is not a bound from 1 to 100000."),
        ("worker --health here", f"--health: 'here' {ADDRESS}"),
        ("worker --log-format xml", "--log-format: 'xml' is not one of auto, console, json."),
        ("worker --log-level loud", "--log-level: 'loud' is not one of debug, info, warning, error."),
        ("worker --name=", "--name: '' is not a name. Write text that is not empty."),
        ("worker --database-url mysql://x", "--database-url: begins with 'mysql://'."),
        ("worker --database-url postgresql://h:port/x", "--database-url: has a port that is not a number"),
        ("runs list --schema=", "--schema: '' is not a name."),
        ("runs list --schema=pg_x", "--schema: 'pg_x' is reserved for PostgreSQL itself."),
        ("migrate --schema=pg_x", "--schema: 'pg_x' is reserved for PostgreSQL itself."),
        ("runs list --namespace=", "--namespace: '' is not a name."),
        ("dev --grace x", f"--grace: 'x' {DURATION}"),
        ("enqueue a.b --delay tomorrow", f"--delay: 'tomorrow' {DURATION}"),
        ("enqueue a.b --delay=-1s", "--delay: '-1s' is negative."),
        ("enqueue a.b --deadline x", f"--deadline: 'x' {DURATION}"),
        ("enqueue a.b --deadline 0", "--deadline: '0' must be longer than zero."),
        ("enqueue a.b --run-at tomorrow", f"--run-at: 'tomorrow' is not a time. {MOMENT}"),
        ("enqueue a.b --run-at 2030-01-01T00:00", f"--run-at: '2030-01-01T00:00' has no time zone. {MOMENT}"),
        ("enqueue a.b --delay 1s --run-at 2030-01-01T00:00Z", "--delay and --run-at: give only one of them."),
        ("enqueue a.b --priority high", "--priority: 'high' is not a whole number from -32768 to 32767."),
        ("enqueue a.b --priority 99999", "--priority: '99999' is not a whole number from -32768 to 32767."),
        ("enqueue a.b --max-attempts 0", "--max-attempts: '0' is not a whole number from 1 to 32767."),
        (
            "enqueue a.b --key k --key-mode keep",
            "--key-mode: 'keep' must be 'replace' or 'keep_time' or 'skip' or 'merge'.",
        ),
        ("enqueue a.b --key-mode skip", "--key-mode: means nothing without --key. Give both, or neither."),
        ("enqueue a.b --queue=", "--queue: '' must not be empty."),
        ("enqueue a.b --key=", "--key: '' must not be empty."),
        ("enqueue a.b --tag ok --tag=", "--tag: '' must not be empty."),
        ("enqueue a.b --meta x", "--meta: 'x' is not key=value, such as tenant=42."),
        ("enqueue a.b --watch --timeout soon", f"--timeout: 'soon' {DURATION}"),
        (
            "enqueue a.b --timeout 5s",
            "--timeout: means nothing without --watch. Add --watch, or leave it out.",
        ),
        ("enqueue a.b {", "JSON: '{' is not JSON: "),
        ("enqueue a.b [1]", "JSON: must be an object with the arguments by name, not an array."),
        ("enqueue a.b null", "JSON: must be an object with the arguments by name, not null."),
        ("enqueue a.b 1.5", "JSON: must be an object with the arguments by name, not a number."),
        ('enqueue a.b {"a":NaN}', """JSON: '{"a":NaN}' is not JSON: it has no number NaN; write null"""),
        ("enqueue ", "NAME: '' must not be empty."),
        ("runs list --since blah", "--since: 'blah' is neither a time nor a duration. Write '1h'"),
        ("runs list --until blah", "--until: 'blah' is neither a time nor a duration. Write '1h'"),
        ("runs list --limit x", "--limit: 'x' is not a whole number from 1 to 1000000."),
        ("runs list --limit 0", "--limit: '0' is not a whole number from 1 to 1000000."),
        ("runs list --status faild", "--status: there is no status 'faild'. Did you mean 'failed'?"),
        ("runs list --before 0198", f"--before: '0198' {RUN_ID}"),
        ("runs list --meta =1", "--meta: '=1' is not key=value, such as tenant=42."),
        ("runs watch 123", f"ID: '123' {RUN_ID}"),
        (
            "runs watch 01981f00-5a5e-7c6e-9f0a-0123456789ab --task a",
            "ID: one run needs no filter. Give its id, or filters.",
        ),
        ("runs show 123", f"ID: '123' {RUN_ID}"),
        ("runs cancel 01981f00-5a5e-7c6e-9f0a-0123456789ab nope", f"ID: 'nope' {RUN_ID}"),
        (
            "runs retry 01981f00-5a5e-7c6e-9f0a-0123456789a",
            f"ID: '01981f00-5a5e-7c6e-9f0a-0123456789a' {RUN_ID}",
        ),
        ("health --timeout never", f"--timeout: 'never' {DURATION}"),
        ("health --timeout 0", "--timeout: '0' must be longer than zero."),
        ("health --address here", f"--address: 'here' {ADDRESS}"),
        ("health --address 127.0.0.1", f"--address: '127.0.0.1' {ADDRESS}"),
        ("health --address localhost:99999", f"--address: 'localhost:99999' {ADDRESS}"),
        (
            "health --address localhost:0",
            "--address: 'localhost:0' has port 0, which nothing can be asked at.",
        ),
        (
            "health --address http://localhost:9464/live",
            "--address: 'http://localhost:9464/live' is not an address. Write host:port (such as",
        ),
        ("health --address ::1", "--address: '::1' is not an address. Write host:port (such as"),
        ("demo nowhere", "DIRECTORY: 'nowhere' is not a directory."),
    ],
)
def test_a_value_that_is_refused_ends_with_2_and_names_the_flag_the_value_and_what_is_accepted(
    bare: Command, line: str, said: str
) -> None:
    answer = bare(*line.split(" "))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: {said}"), answer.err
    assert answer.err.count("\n") == 1


def test_the_password_of_a_url_that_is_refused_is_not_shown(bare: Command) -> None:
    answer = bare("runs", "list", "--database-url", f"postgresql://app:{SECRET}@a@b/x")
    assert answer.code == 2
    assert answer.err.startswith("Error: --database-url: contains an '@'")
    assert SECRET not in answer.err


def test_several_flags_that_are_refused_are_told_together(bare: Command) -> None:
    answer = bare("worker", "--concurrency", "0", "--grace", "x")
    assert answer.code == 2
    first, second = answer.err.splitlines()
    assert first.startswith("Error: --concurrency: '0' is not a whole number")
    assert second.startswith("--grace: 'x' is not a duration.")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OPENQUEUE_CONCURRENCY", "0", "OPENQUEUE_CONCURRENCY: concurrency: '0' is not a whole number"),
        ("OPENQUEUE_DATABASE_URL", "mysql://x", "OPENQUEUE_DATABASE_URL: database_url: begins with"),
        ("OPENQUEUE_SCHEMA", "pg_x", "schema: 'pg_x' is reserved for PostgreSQL itself."),
    ],
)
def test_the_same_value_in_a_variable_ends_with_3_and_names_the_variable_or_its_key(
    bare: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", NOWHERE)
    monkeypatch.setenv(name, value)
    answer = bare("runs", "list")
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


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="there are no pipes of this kind")
@pytest.mark.parametrize(
    "line", ["runs list --json", "runs list", "migrate --sql", "--help", "runs list --help", "--version"]
)
def test_a_reader_that_goes_away_ends_a_command_as_it_ends_other_tools(oq: Command, line: str) -> None:
    oq("enqueue", "post.send", "--allow-unknown")
    process = oq.start(*line.split(), PYTHONUNBUFFERED="")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(240) == -signal.SIGPIPE
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_tool_whose_reader_goes_away_puts_away_what_it_has_begun(bare: Command, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (bare.project / "files").mkdir()
    (bare.project / "files" / "one.txt").write_text("a line\n")
    process = bare.start("demo", "files", TMPDIR=str(temporary))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(240) == -signal.SIGPIPE
    assert process.stderr.read() == ""
    process.stderr.close()
    assert list(temporary.iterdir()) == []


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


@pytest.mark.parametrize(
    ("line", "closed"),
    [
        ("runs list", "<&-"),
        ("runs list", ">&-"),
        ("runs list", "2>&-"),
        ("runs list", "<&- >&- 2>&-"),
        ("worker --once", "<&- >&- 2>&-"),
        ("worker --once --processes 2", "<&-"),
        ("worker --once --processes 2", "<&- >&- 2>&-"),
    ],
)
def test_a_closed_standard_stream_is_no_reason_to_fail(oq: Command, line: str, closed: str) -> None:
    shell = f'exec "$0" -m openqueue {line} {closed}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable],
        cwd=oq.project,
        env={**os.environ, "PYTHONPATH": str(Path(openqueue.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
