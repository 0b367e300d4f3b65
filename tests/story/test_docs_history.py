"""The page on finding runs is true: its commands, its program and its SQL find what they say."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from tests.support.transcript import blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "history.md"
FAILED = """
    WITH made AS (SELECT openqueue.add_job('mail.send', '{}', meta => '{"tenantId": 42}') AS id),
    gone AS (DELETE FROM openqueue.jobs)
    INSERT INTO openqueue.attempts (run_id, finished_at, attempt, counted, final, outcome, error)
    SELECT id, now(), 1, 1, true, 'failed', '{"type": "TimeoutError", "message": "late"}' FROM made
    RETURNING run_id"""


@pytest.fixture
async def failed(db: asyncpg.Connection) -> str:
    run = str(await db.fetchval(FAILED))
    await db.execute("DELETE FROM openqueue.jobs")
    return run


async def test_the_query_finds_the_run(db: asyncpg.Connection, failed: str) -> None:
    (query,) = [block.text for block in blocks(PAGE) if block.language == "sql"]
    (row,) = await db.fetch(query)
    assert (str(row["id"]), row["task"]) == (failed, "mail.send")


async def test_the_program_finds_the_run(
    dsn: str, failed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", dsn)
    (program,) = [block.text for block in blocks(PAGE) if block.language == "python"]
    names: dict[str, object] = {}
    exec(program, names)
    await names["late_failures"]()  # type: ignore[operator]
    assert capsys.readouterr().out.splitlines()[-1] == "1"
