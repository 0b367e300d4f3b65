"""The page on schedules is true: its commands, its program and its SQL do what it shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg
import pytest

from openqueue.scheduler.asked import ScheduleWords
from tests.story.test_docs_sql import psql
from tests.support.transcript import Transcript, blocks, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "schedules.md"


@pytest.mark.skipif(shutil.which("jq") is None, reason="the page pipes into jq")
def test_the_commands_and_the_program_print_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    for block in blocks(PAGE):
        if block.language == "python":
            story.write(block)
    story.call("openqueue worker --once")  # so that the tasks are known, and what they declare
    commands = [one for block in blocks(PAGE) if block.language == "console" for one in block.commands]
    assert len(commands) >= 8
    for command, answer in commands:
        story.run(command, answer)


async def test_the_sql_runs(dsn: str, db: asyncpg.Connection) -> None:
    (text,) = [block.text for block in blocks(PAGE) if block.language == "sql"]
    printed = [line for line in psql(dsn, text).splitlines() if line]
    assert printed[:3] == ["added", "updated", "fired"]
    assert printed[-1] == "t"
    assert await db.fetchval("SELECT count(*) FROM openqueue.schedules") == 0


def test_the_table_of_options_is_that_of_the_code() -> None:
    listed = {word.strip() for row in tables(PAGE)["option"] for word in row[0].split(",")}
    assert listed == set(ScheduleWords.__annotations__)
