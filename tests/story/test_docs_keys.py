"""The page on keys is true: its program prints what it shows. Its table: tests/engine/test_keys.py."""

from __future__ import annotations

from pathlib import Path

from openqueue.settings import Settings
from openqueue.tasks.options import EnqueueOptions
from tests.support.transcript import Transcript, blocks, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "keys.md"


def test_the_program_prints_what_is_shown(tmp_path: Path, dsn: str) -> None:
    story = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn, OPENQUEUE_LOG_LEVEL="error")
    for block in blocks(PAGE):
        if block.language == "python":
            story.write(block)
    (console,) = [block for block in blocks(PAGE) if block.language == "console"]
    for command, answer in console.commands:
        story.run(command, answer)


def test_the_modes_and_the_time_are_those_of_the_code() -> None:
    modes = [row[0].strip("`").split()[0].strip("`") for row in tables(PAGE)["key_mode"]]
    assert modes == ["replace", "keep_time", "skip", "merge"]
    for mode in modes:
        assert EnqueueOptions.of(key="k", key_mode=mode).key_mode == mode
    assert Settings.model_fields["idempotency_ttl"].default.days == 1
    assert "remembered for a day (setting `idempotency_ttl`" in PAGE.read_text()
