"""The openqueue of the commit before the last migration, as a wheel that is unpacked in a directory."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

from tests.chaos.worker import ROOT

__all__ = ["NO_HISTORY", "commit_before_last_migration", "run", "unpacked"]

NO_HISTORY = "git and the history of this checkout"


def commit_before_last_migration() -> str | None:
    """What was there before the newest migration was merged; None where there is no history to ask."""
    newest = max((ROOT / "sql" / "migrations").glob("*.sql"))
    added = _git(
        "log",
        "--first-parent",
        "-m",
        "--diff-filter=A",
        "--format=%H",
        "-1",
        "--",
        str(newest.relative_to(ROOT)),
    )
    return _git("rev-parse", "--verify", "--quiet", f"{added}^") if added else None


def unpacked(commit: str, directory: Path) -> Path:
    """Build the wheel of that commit and unpack it; answers what to put on PYTHONPATH."""
    tree, code = directory / "old-tree", directory / "old-code"
    tree.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(tree, filter="data")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory / "old-wheel")],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        check=True,
    )
    (wheel,) = (directory / "old-wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(code)
    return code


def run(code: Path, dsn: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a command of `openqueue`, of that code."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENQUEUE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "openqueue", *arguments],
        cwd=code if code != ROOT else None,
        env={**clean, "PYTHONPATH": str(code), "OPENQUEUE_DATABASE_URL": dsn},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _git(*arguments: str) -> str | None:
    try:
        found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
