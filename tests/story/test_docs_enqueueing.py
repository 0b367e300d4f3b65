"""The how-to on enqueueing is true: its programs run and print what it shows, and nothing more is stored."""

from __future__ import annotations

import re
from pathlib import Path

import openqueue
from openqueue.db.connections import ADAPTERS
from tests.support.drivers import ask
from tests.support.transcript import Transcript, blocks, running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "enqueueing.md"
BLOCKS = blocks(PAGE)
COMMANDS = [one for block in BLOCKS if block.language == "console" for one in block.commands]


async def test_every_program_prints_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "shop", OPENQUEUE_DATABASE_URL=dsn)
    for block in BLOCKS:
        if block.language == "sql":
            ask(dsn, block.text)
        elif block.language == "python":
            story.write(block)
    line = ["openqueue", "worker", "--grace", "1s"]
    async with running(line, story.directory, story.environment, until="worker started"):
        for command, answer in COMMANDS:
            story.run(command, answer)
    assert ask(dsn, "SELECT array_agg(id ORDER BY id) FROM orders") == [([1, 2, 3, 5, 6, 7],)]
    assert ask(dsn, "SELECT 1 FROM openqueue.runs WHERE input ->> 'customer' = 'Nobody'") == []


def test_every_program_is_run() -> None:
    run = {command.removeprefix("python ") for command, _ in COMMANDS}
    assert run | {"tasks/orders.py"} == {block.file for block in BLOCKS if block.language == "python"}


def test_the_table_names_every_class_that_is_taken() -> None:
    table = "\n".join(line for line in PAGE.read_text().splitlines() if line.startswith("|"))
    words = set(re.findall(r"\w+", table))
    internal = {"ConnectionProxy", "BaseDatabaseWrapper", "PoolConnectionProxy", "Engine", "AsyncEngine"}
    assert {name for _, name in ADAPTERS} - internal <= words


def test_the_names_in_the_text_exist() -> None:
    for name in set(re.findall(r"`(\w+_sync)`", PAGE.read_text())) - {"run_sync"}:
        assert hasattr(openqueue, name) or hasattr(openqueue.Run, name) or hasattr(openqueue.Task, name), name
