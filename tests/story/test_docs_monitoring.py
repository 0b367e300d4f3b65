"""The page on watching is true: what it shows runs, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from openqueue.doctor.checks import NAMES
from openqueue.telemetry.measures import MEASURES
from tests.support.transcript import Transcript, blocks, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"


def test_the_commands_print_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    story.directory.mkdir()
    for block in blocks(PAGE):
        for command, answer in block.commands if block.language == "console" else ():
            story.run(command, answer)


def test_every_metric_is_explained_and_nothing_else() -> None:
    told = {name for row in tables(PAGE)["metric"] for name in row[0].split(", ")}
    assert told == {f"{one.name}_total" if one.kind == "counter" else one.name for one in MEASURES.values()}


def test_the_alerts_ask_for_what_is_measured() -> None:
    (rules,) = [block for block in blocks(PAGE) if block.language == "yaml"]
    asked = [rule["expr"] for group in yaml.safe_load(rules.text)["groups"] for rule in group["rules"]]
    names = {name.removesuffix("_total") for one in asked for name in re.findall(r"openqueue_\w+", one)}
    assert len(asked) == len(names) == 4
    assert names <= set(MEASURES)


def test_every_check_of_the_doctor_is_explained() -> None:
    assert [row[0].strip("`") for row in tables(PAGE)["check"]] == list(NAMES)
