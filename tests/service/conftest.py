"""Fixtures of the service tests: the command line in a project of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.command import Command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a project, without any setting in the environment."""
    for name in [name for name in os.environ if name.startswith("OPENQUEUE_") and "_TEST_" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bare(project: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line without a database."""
    return Command(project, None, capsys)


@pytest.fixture
def oq(
    project: Path, dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command line on a migrated database, in a project with tasks."""
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", dsn)
    command = Command(project, dsn, capsys)
    command.add_tasks()
    return command
