"""The pages for those who come from elsewhere name what there is, and what there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

import openqueue
from openqueue.cli.main import app
from openqueue.settings import Settings
from openqueue.tasks.options import EnqueueWords, TaskWords

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "coming-from"
PAGES = sorted(DIRECTORY.glob("*.md"))
LEFT = [path for path in PAGES if path.stem != "index"]
OPTIONS = {*TaskWords.__annotations__, *EnqueueWords.__annotations__}
METHODS = {
    name
    for kind in (openqueue.Task, openqueue.Run, openqueue.Client, openqueue.Context)
    for name in dir(kind)
}
KNOWN = {*OPTIONS, *METHODS, *openqueue.__all__, *Settings.model_fields, *openqueue.Context.__annotations__}


def ours(page: Path) -> str:
    """What stands in our column."""
    rows = re.findall(r"^\| [^|]+ \| ([^|]*) \|", page.read_text(), re.MULTILINE)
    return "\n".join(rows[2:])


@pytest.mark.parametrize("page", LEFT, ids=lambda page: page.stem)
def test_what_is_ours_in_the_table_exists(page: Path) -> None:
    text = ours(page)
    named = {
        *re.findall(r"(\w+)=", text),
        *re.findall(r"`(?:await )?(?:f|run|ctx|client|openqueue)\.(\w+)", text),
        *re.findall(r"`([A-Z]\w+)[`(]", text),
    }
    assert len(named) >= 5
    assert named - KNOWN == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_in_the_table_exist(page: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    for name in re.findall(r"`openqueue ([a-z]+)", page.read_text()):
        assert name in commands
