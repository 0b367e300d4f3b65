"""The tutorial is true: what it shows is written, run, and prints what is said."""

from __future__ import annotations

from pathlib import Path

from tests.support.drivers import ask
from tests.support.transcript import Transcript, blocks, running

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BLOCKS = blocks(PAGE)
DEV = "openqueue dev"
COMMANDS = [one for block in BLOCKS if block.language == "console" for one in block.commands]


async def test_every_step_of_the_tutorial_prints_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "shop", OPENQUEUE_DATABASE_URL=dsn)
    for block in BLOCKS:
        if block.language == "python":
            story.write(block)
    async with running(DEV.split(), story.directory, story.environment, until="worker started"):
        for command, answer in COMMANDS:
            if command != DEV:
                story.run(command, answer)
    (query,) = (block.text for block in BLOCKS if block.language == "sql")
    assert ("weather.fetch", "failed", 1) in ask(dsn, query)
    assert ("weather.fetch", "completed", 1) in ask(dsn, query)


def test_every_program_of_the_tutorial_is_run() -> None:
    run = {command.removeprefix("python ") for command, _ in COMMANDS}
    files = {block.file for block in BLOCKS if block.language == "python"}
    assert {file for file in files if file and not file.startswith("tasks/")} <= run
    assert {block.language for block in BLOCKS} == {"sh", "python", "console", "sql"}
