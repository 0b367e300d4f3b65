"""The page on operation is true: its commands print what it shows, and its settings are accepted."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import pytest

from openqueue.cluster.retention import Retention
from openqueue.settings.retention import read_retention
from tests.story.test_docs_sql import psql
from tests.support.transcript import Transcript, blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operation.md"


def test_the_commands_print_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    for block in blocks(PAGE):
        if block.language == "python":
            story.write(block)
    commands = [one for block in blocks(PAGE) if block.language == "console" for one in block.commands]
    assert len(commands) >= 5
    for command, answer in commands:
        story.run(command, answer)


def test_the_line_for_cron_does_what_cron_makes_of_it(tmp_path: Path, dsn: str) -> None:
    (line,) = [block.text.strip() for block in blocks(PAGE) if block.language == "crontab"]
    *times, command = line.split(maxsplit=5)
    assert times == ["15", "3", "*", "*", "*"]
    here = command.replace("/srv/shop", shlex.quote(str(tmp_path / "program"))).replace("\\%", "%")
    (tmp_path / "program" / "old").mkdir(parents=True)
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn)
    assert "0 runs removed" in story.call(here)


def test_the_settings_are_accepted() -> None:
    (text,) = [block.text for block in blocks(PAGE) if block.language == "toml"]
    retention = Retention.of(read_retention(tomllib.loads(text)["retention"]))
    assert [(rule.task, rule.queue, rule.status) for rule in retention.rules] == [
        ("audit.book", None, None),
        (None, "reports", None),
        (None, None, "completed"),
        (None, None, None),
    ]
    assert retention.rules[0].older_than is None


@pytest.mark.usefixtures("db")
def test_the_sql_runs(dsn: str) -> None:
    prune, rates = [block.text for block in blocks(PAGE) if block.language == "sql"]
    assert psql(dsn, prune).splitlines()[0].startswith("0|")
    assert psql(dsn, rates).strip() == ""
