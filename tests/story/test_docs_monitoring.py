"""The page on watching is true: what it shows runs, and its tables are complete."""

from __future__ import annotations

from pathlib import Path

from openqueue.doctor.checks import NAMES
from tests.support.transcript import Transcript, blocks, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"


def test_the_commands_print_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    story.directory.mkdir()
    for block in blocks(PAGE):
        for command, answer in block.commands if block.language == "console" else ():
            story.run(command, answer)


def test_every_check_of_the_doctor_is_explained() -> None:
    assert [row[0].strip("`") for row in tables(PAGE)["check"]] == list(NAMES)
