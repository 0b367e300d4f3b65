"""Everything that the README shows is true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import asyncpg
import psycopg
import pytest
from typer.main import get_command

import openqueue
from openqueue.cli.exits import EXITS
from openqueue.cli.main import app
from openqueue.settings import Settings, load_settings
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.transcript import Block, Transcript, blocks, environment, running, tables

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
ENGINE = ROOT / "docs" / "engine.md"
CLI = ROOT / "docs" / "cli.md"
BLOCKS = blocks(README)
DEV = "openqueue dev"


def chosen(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


async def test_hello_world_takes_eight_lines_and_two_commands_in_an_empty_directory(tmp_path: Path) -> None:
    task = chosen("python")[0]
    (dev, nothing), (enqueue, answer) = [one for block in chosen("console")[:2] for one in block.commands]
    assert task.text.count("\n") <= 8
    assert (dev, nothing) == (DEV, "")

    story = Transcript(tmp_path / "empty")
    story.write(task)
    async with running(dev.split(), story.directory, story.environment, until="worker started"):
        story.run(enqueue, answer)


async def test_the_programs_and_commands_print_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "shop", OPENQUEUE_DATABASE_URL=dsn)
    for block in chosen("python"):
        story.write(block)
    async with running(DEV.split(), story.directory, story.environment, until="worker started"):
        for command, answer in [one for block in chosen("console") for one in block.commands]:
            if command != DEV:
                story.run(command, answer)
        for block in chosen("sql"):
            run_sql(dsn, story.real(block.text))


def run_sql(dsn: str, text: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in filter(str.strip, re.split(r";\n", text)):
            connection.execute(statement.encode())
        ended = connection.execute(
            "SELECT status FROM openqueue.runs WHERE task = 'hello.greet' AND priority = -10"
        ).fetchall()
    assert ended == [("cancelled",)]


async def test_the_table_of_add_job_has_its_parameters(db: asyncpg.Connection) -> None:
    call = "SELECT pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'add_job'"
    signature = re.findall(r"(\w+) ([a-z \[\]]+?)(?: DEFAULT ([^,]+))?(?:, |$)", await db.fetchval(call))
    short = {"timestamp with time zone": "timestamptz"}
    rows = tables(README)["parameter"]
    assert [(name, kind) for name, kind, *_ in rows] == [
        (name, short.get(kind, kind)) for name, kind, _ in signature
    ]
    assert [bool(left_out) for _, _, left_out, _ in rows] == [bool(default) for *_, default in signature]
    said = {name: left_out for name, _, left_out, _ in rows}
    for name, _, default in signature:
        if default and not default.startswith("NULL"):
            assert default.split("::")[0].strip("'") == said[name]


async def test_the_commands_for_production_start_a_worker_that_is_well(
    tmp_path: Path, empty_dsn: str
) -> None:
    (migrate, worker) = next(
        block.text.splitlines() for block in chosen("sh") if block.text.startswith("openqueue migrate")
    )
    story = Transcript(tmp_path / "shop", OPENQUEUE_DATABASE_URL=empty_dsn)
    for block in chosen("python"):
        story.write(block)
    assert "is up to date" in story.call(migrate)
    shown, address = worker.partition("--health ")[2], f"127.0.0.1:{free_port()}"  # theirs may be taken
    async with running(
        worker.replace(shown, address).split(), story.directory, story.environment, until="worker started"
    ):
        ask = ["openqueue", "health", "--address", address]
        await eventually(lambda: succeeds(ask, story), what="the worker is ready")


def succeeds(line: list[str], story: Transcript) -> bool:
    return subprocess.run(line, env=story.environment, capture_output=True, check=False).returncode == 0


def test_the_install_command_names_extras_that_exist() -> None:
    venv, command = next(block.text.splitlines() for block in chosen("sh") if "pip install" in block.text)
    assert venv == "python3 -m venv .venv && . .venv/bin/activate"
    assert command.startswith("pip install '/path/to/openqueue[")
    line = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*line, command.removeprefix("pip install ").strip("'").replace("/path/to/openqueue", str(ROOT))],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="MISSING: there is no make here")
def test_the_make_targets_exist() -> None:
    commands = next(block.text.splitlines() for block in chosen("sh") if block.text.startswith("make"))
    for command in commands:
        done = subprocess.run(
            [*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_settings_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OPENQUEUE_")]:
        monkeypatch.delenv(name)
    (block,) = chosen("toml")
    Transcript(tmp_path).write(block)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.concurrency, settings.grace) == (200, timedelta(minutes=1))
    assert settings.queues == {"mail": 5, "reports": None}


def test_the_page_on_the_command_line_has_every_setting_and_exit_code() -> None:
    keys = {field.alias or name for name, field in Settings.model_fields.items()}
    assert {name for names, *_ in tables(CLI)["key"] for name in names.split(", ")} == keys
    assert [(int(code), name) for code, name, *_ in tables(CLI)["code"]] == [
        (one.code, one.name) for one in EXITS
    ]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {block.language for block in BLOCKS} == {"text", "sh", "python", "console", "sql", "toml"}
    starts = ("python3 -m venv", "openqueue migrate", "make demo")
    assert [block.text.startswith(starts) for block in chosen("sh")] == [True] * len(starts)


def test_the_names_in_the_text_exist() -> None:
    text = README.read_text()
    methods = re.findall(r"In Python the same is\n(.*?)\.\n", text, re.DOTALL)[0]
    for name in re.findall(r"`(?:client\.)?(\w+)`", methods):
        assert hasattr(openqueue.Client, name), name
    for name in set(re.findall(r"`openqueue\.(\w+)\(", text)):
        assert name in openqueue.__all__, name


def test_the_commands_in_the_text_exist() -> None:
    known = list(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group
    for name in set(re.findall(r"(?:`|^\$ |^)openqueue ([a-z]+)", README.read_text(), re.MULTILINE)):
        assert name in known, name


@pytest.mark.parametrize(
    "page", [README, ENGINE, ROOT / "examples" / "README.md"], ids=["first", "engine", "examples"]
)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_what_the_page_on_the_engine_names_exists() -> None:
    files = [*(ROOT / "sql").rglob("*.sql"), *(ROOT / "openqueue").rglob("*.py")]
    sources = "\n".join(file.read_text() for file in files)
    named = set(re.findall(r"`([a-z_]+)`", re.sub(r"```.*?```", "", ENGINE.read_text(), flags=re.DOTALL)))
    rooms = {path.stem for path in (ROOT / "openqueue").iterdir()}
    assert [name for name in sorted(named - rooms) if not re.search(rf"\b{name}\b", sources)] == []
