"""The page on limits is true: its programs run, print what it shows, and its figures agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from openqueue.settings.controls import read_controls
from openqueue.tasks.options import TaskOptions
from tests.bench.shares import GROUPS, WEIGHTS, Measured
from tests.support.transcript import Transcript, blocks, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "limits.md"


def test_the_programs_and_commands_print_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    for block in blocks(PAGE):
        if block.file:
            story.write(block)
    for block in blocks(PAGE):
        for command, answer in block.commands if block.language == "console" else ():
            story.run(command, answer)


def test_the_settings_and_options_are_accepted() -> None:
    (settings,) = [block for block in blocks(PAGE) if block.language == "toml"]
    assert set(read_controls(tomllib.loads(settings.text)["controls"])["mail"]) == {
        *("concurrency", "rate", "fairness", "weights", "ageing")
    }
    assert TaskOptions().key_concurrency == 1
    assert TaskOptions().keeps_slot


@pytest.mark.parametrize("kind", ["strict", "round_robin", "weighted"])
def test_the_index_in_the_table_is_that_of_the_figures_beside_it(kind: str) -> None:
    (row,) = [row for row in tables(PAGE)["fairness"] if row[0].startswith(kind)]
    got = dict(zip(GROUPS, map(int, row[1:4]), strict=True))
    each = [got[group] / (WEIGHTS[group] if kind == "weighted" else 1) for group in GROUPS]
    assert float(row[4]) == pytest.approx(sum(each) ** 2 / (3 * sum(one**2 for one in each)), abs=0.0006)


def test_jains_index_is_one_for_equal_shares_and_a_third_for_all_to_one() -> None:
    assert Measured("strict", ["large", "early", "late"] * 9, 1.0, 0).jain == pytest.approx(1)
    assert Measured("strict", ["large"] * 9, 1.0, 0).jain == pytest.approx(1 / 3)
    assert Measured("weighted", ["large", "early", *["late"] * 3] * 9, 1.0, 0).jain == pytest.approx(1)
