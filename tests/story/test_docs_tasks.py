"""Everything that docs/tasks.md shows is true, and so is the example that goes with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import openqueue
from openqueue.settings import Settings
from openqueue.worker.processes.pool import IDLE, MOST_RUNS
from openqueue.worker.processes.task_process import TERM_GRACE
from openqueue.worker.subscribers import LONGEST_QUEUE
from tests.support.transcript import Transcript, blocks, environment, tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tasks.md"


def test_the_programs_print_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    for block in blocks(PAGE):
        if block.language == "python":
            story.write(block)
    commands = [one for block in blocks(PAGE) if block.language == "console" for one in block.commands]
    assert len(commands) == 4
    for command, answer in commands:
        story.run(f"{command} 2>/dev/null", answer)


def test_numbers_and_names_in_the_text_are_those_of_the_code() -> None:
    text = PAGE.read_text()
    for row in tables(PAGE)[""]:
        for name, number in re.findall(r"(\w+) \((\d+)\)", row[2]):
            assert Settings.model_fields[name].default == int(number)
    assert (MOST_RUNS, IDLE, TERM_GRACE, LONGEST_QUEUE) == (1000, 300, 0.3, 10_000)
    assert all(words in text for words in ("a thousand attempts", "five minutes", "0.3 s later", "10,000"))
    for imported in re.findall(r"^from openqueue import (.*)$", text, re.MULTILINE):
        assert {one.strip() for one in imported.split(",")} <= set(openqueue.__all__)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (PAGE.parent / target).exists(), target


def test_the_example_prints_what_it_should(tmp_path: Path, dsn: str) -> None:
    copy = shutil.copytree(
        ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    done = subprocess.run(
        [sys.executable, "13_around_tasks.py"],
        cwd=copy,
        env=environment(OPENQUEUE_DATABASE_URL=dsn),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [
        "apples left: 2",
        "around.tasks.sell failed: 'pear'",
        "primes: 78498",
        "the middleware has logged: took",
        "there are no pears",
    ]
    # Two threads print: a line of one may stand in front of the other's line end.
    assert [done.stdout.count(line) for line in lines] == [1] * len(lines)
    assert sorted(done.stdout) == sorted("".join(f"{line}\n" for line in lines))
