"""docs/troubleshooting.md lists the answers that tests bring about, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import openqueue
from openqueue.telemetry.logs import LINES, Choice
from tests.story import (
    test_mistakes_deployment,
    test_mistakes_python,
    test_mistakes_running,
    test_mistakes_shell,
)

MISTAKES = [
    *test_mistakes_python.ROWS,
    *test_mistakes_shell.ROWS,
    *test_mistakes_running.ROWS,
    *test_mistakes_deployment.ROWS,
]


@pytest.fixture
def listed() -> dict[str, list[str]]:
    """The quoted words of the first column, by its title."""
    file = Path(openqueue.__file__).parent.parent / "docs" / "troubleshooting.md"
    if not file.exists():
        pytest.skip("an installed package has no docs")
    found: dict[str, list[str]] = {}
    for table in re.findall(r"(?:^\|.*\|\n)+", file.read_text(encoding="utf-8"), re.MULTILINE):
        title, _, *rows = [line.split("|")[1] for line in table.splitlines()]
        found.setdefault(title.strip(), []).extend(
            word for row in rows for word in re.findall("`(.+?)`", row)
        )
    return found


def test_every_answer_that_a_mistake_has_is_listed(listed: dict[str, list[str]]) -> None:
    missing = [one.see for one in MISTAKES if not any(words in one.see for words in listed["the answer has"])]
    assert missing == []


def test_every_answer_that_is_listed_is_that_of_a_mistake(listed: dict[str, list[str]]) -> None:
    answers = [one.see for one in MISTAKES] + ["was never awaited"]
    strange = [words for words in listed["the answer has"] if not any(words in one for one in answers)]
    assert strange == []


def test_every_line_that_is_listed_is_one_that_a_worker_logs(listed: dict[str, list[str]]) -> None:
    each = [
        one
        for words in LINES.values()
        for one in ([*words.words.values(), words.otherwise] if isinstance(words, Choice) else [words])
    ]
    strange = [line for line in listed["the line"] if not any(line in one.text for one in each)]
    assert strange == []


def test_there_are_more_than_fifty_mistakes() -> None:
    assert len({one.name for one in MISTAKES}) > 50
