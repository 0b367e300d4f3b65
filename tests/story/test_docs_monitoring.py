"""The page on watching is true: what it shows runs, and its tables are complete."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import yaml

from openqueue.doctor.checks import NAMES
from openqueue.telemetry.measures import MEASURES
from tests.support.eventually import eventually
from tests.support.transcript import Transcript, blocks, start, tables

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


SENTRY = """
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace


def new_scope():
    return nullcontext(SimpleNamespace(set_tag=write, set_context=write))


def write(*said, **more):
    with Path("sentry.txt").open("a") as file:
        print(*said, file=file)


capture_message = write
"""
FAILING = """
from openqueue import GiveUp, task


@task(name="mail.send")
async def send() -> None:
    raise GiveUp("no such address")
"""


def test_the_reporter_is_told_of_the_attempt_and_of_its_end(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    (reporting,) = [block for block in blocks(PAGE) if block.file == "tasks/reporting.py"]
    story.write(reporting)
    (story.directory / "tasks" / "mail.py").write_text(FAILING)
    (story.directory / "sentry_sdk.py").write_text(SENTRY)
    story.environment["PYTHONPATH"] = f"{story.directory}:{story.environment.get('PYTHONPATH', '')}"
    story.call("openqueue enqueue mail.send --allow-unknown")
    story.call("openqueue worker --once")
    told = (story.directory / "sentry.txt").read_text().splitlines()
    assert told[0] == "task mail.send"
    assert told[1].startswith("run {'id': ")
    assert told[2] == "mail.send failed: no such address"


async def test_the_program_that_follows_is_told_of_what_a_worker_does(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    (follow,) = [block for block in blocks(PAGE) if block.file == "follow.py"]
    story.write(follow)
    (story.directory / "tasks").mkdir()
    (story.directory / "tasks" / "mail.py").write_text(FAILING)
    environ = {**story.environment, "PYTHONUNBUFFERED": "1"}
    log = tmp_path / "program.log"
    process = start([sys.executable, "follow.py"], story.directory, environ, log)
    try:

        async def told() -> bool:
            """Enqueued again and again: what was before it began is not told."""
            await asyncio.to_thread(story.call, "openqueue enqueue mail.send --allow-unknown")
            await asyncio.to_thread(story.call, "openqueue worker --once")
            assert process.poll() is None, log.read_text()
            return "mail.send failed" in log.read_text()

        await eventually(told)
    finally:
        process.kill()
        process.wait()


def test_every_check_of_the_doctor_is_explained() -> None:
    assert [row[0].strip("`") for row in tables(PAGE)["check"]] == list(NAMES)
