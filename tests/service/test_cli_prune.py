"""`openqueue runs prune`, as cron calls it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pyarrow import parquet

from tests.support.command import Command
from tests.support.history import add_runs, month_ago

OLD = month_ago(6)
MONTH = f"{OLD:%Y-%m}"


@pytest.fixture
def aged(oq: Command) -> Command:
    """A month with three completed runs and two failed ones."""

    async def fill() -> None:
        connection: Any = await asyncpg.connect(oq.url)
        await add_runs(connection, OLD, 3)
        await add_runs(connection, OLD, 2, outcome="failed", task="mail.send")
        await connection.close()

    asyncio.run(fill())
    return oq


def test_what_would_go_and_what_goes_is_told(aged: Command) -> None:
    answer = aged("runs", "prune", "--older-than", "90d", "--status", "completed", "--dry-run")
    assert answer.out.splitlines() == [
        f"{MONTH}: not dropped as a whole, a run in it is to be kept",
        "3 runs would be removed one by one (completed 3)",
    ]
    answer = aged("runs", "prune", "--older-than", "90d", "--status", "completed")
    assert (
        "3 runs removed one by one (completed 3)\n3 attempts and 3 lines of log went with them" in answer.out
    )
    assert "RELATION" in answer.out
    done = aged("runs", "prune", "--older-than", "90d", "--json").json
    assert done["runs"] == {}
    assert [month["month"] for month in done["months"]] == [MONTH]
    assert {"rows", "dead", "bytes"} == set(done["after"]["run_requests"])
    assert aged("runs", "list", "--json").json == []


def test_a_queue_that_nobody_knows_is_told(aged: Command) -> None:
    answer = aged("runs", "prune", "--older-than", "90d", "--queue", "mial", "--dry-run")
    assert answer.code == 0
    assert "of queue 'mial', and nothing waits in it" in answer.err


def test_without_older_than_the_settings_say_what_goes(aged: Command) -> None:
    answer = aged("runs", "prune")
    assert answer.code == 2
    assert "no setting says how long runs are kept" in answer.err
    (aged.project / "openqueue.toml").write_text(
        '[retention]\nall = "90d"\n[retention.tasks]\nt = "forever"\n'
    )
    assert "2 runs would be removed one by one (failed 2)" in aged("runs", "prune", "--dry-run").out
    assert aged("runs", "prune", "--json").json["runs"] == {"failed": 2}


def test_an_archive_that_is_there_is_not_touched(aged: Command, tmp_path: Path) -> None:
    path = tmp_path / "runs.gz"
    path.write_text("mine")
    answer = aged("runs", "prune", "--older-than", "90d", "--archive", str(path))
    assert answer.code == 2
    assert answer.err.startswith("Error: --archive: ")
    assert path.read_text() == "mine"
    assert len(aged("runs", "list", "--json").json) == 5


@pytest.mark.parametrize("name", ["old.csv", "old.jsonl", "old"])
def test_an_archive_is_not_named_as_what_it_will_not_be(aged: Command, tmp_path: Path, name: str) -> None:
    answer = aged("runs", "prune", "--older-than", "90d", "--archive", str(tmp_path / name))
    assert answer.code == 2
    assert answer.err.startswith("Error: --archive: ")
    assert ".jsonl.gz" in answer.err
    assert len(aged("runs", "list", "--json").json) == 5


def test_the_server_of_dev_in_this_directory_is_pruned_like_any_other(
    aged: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every command that a settings file without a database has; this one has a session of its own."""
    monkeypatch.delenv("OPENQUEUE_DATABASE_URL")
    monkeypatch.setattr("openqueue.dev.embedded.running_server", lambda: aged.url)
    answer = aged("runs", "prune", "--older-than", "90d", "--status", "failed", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["runs"] == {"failed": 2}


def test_an_archive_named_so_is_parquet(aged: Command, tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    answer = aged("runs", "prune", "--older-than", "90d", "--archive", str(path))
    assert f"5 runs written to {path}" in answer.out, answer.err
    found = parquet.read_table(path).to_pylist()
    assert Counter((one["status"], one["task"]) for one in found) == {
        ("completed", "t"): 3,
        ("failed", "mail.send"): 2,
    }
    assert {json.loads(one["attempts"])[0]["outcome"] for one in found} == {"completed", "failed"}
    assert all(one["finished_at"].tzinfo is not None for one in found)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["old.parquet"]


def test_parquet_is_refused_before_anything_goes_where_it_cannot_be_written(
    aged: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openqueue.cluster.parquet.find_spec", lambda _: None)
    answer = aged("runs", "prune", "--older-than", "90d", "--archive", str(tmp_path / "old.parquet"))
    assert answer.code == 2
    assert "pip install 'openqueue[parquet]'" in answer.err
    assert len(aged("runs", "list", "--json").json) == 5


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--older-than", "soon"], "--older-than: 'soon' is not a duration"),
        (["--older-than", "90"], "--older-than: '90' has no unit: write '90d' for ninety days"),
        (["--older-than", "0s"], "--older-than: '0s' must be longer than zero"),
        (["--task", "a.b"], "--older-than: is missing"),
        (["--older-than", "1d", "--status", "done"], "--status: 'done' is no end of a run"),
        (["--older-than", "1d", "--status", "running"], "--status: 'running' is no end of a run"),
        (["--older-than", "1d", "--batch", "0"], "--batch: '0' is not a whole number"),
        (
            ["--older-than", "1d", "--archive", "/nowhere/runs.gz"],
            "--archive: there is no directory '/nowhere'",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_flag(oq: Command, flags: list[str], said: str) -> None:
    answer = oq("runs", "prune", *flags)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
