"""Which files of a directory are indexed, and whether the answers are right."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from openqueue import RunInfo
from tasks.files import digest_of, is_busy_at_first

LARGEST_FILE = 64 * 1024 * 1024
MOST_BYTES = 256 * 1024 * 1024
PASSED_OVER = {"__pycache__", "site-packages", "dist-packages", "node_modules"}


def files_below(directory: Path, most: int) -> list[str]:
    """The first files below a directory that can be read: at most `most`, and 256 MB."""
    found: list[str] = []
    total = 0
    for file in _walk(directory):
        if not _is_usable(file):
            continue
        total += file.stat().st_size
        if len(found) == most or total > MOST_BYTES:
            break
        found.append(str(file))
    return found


def mistakes(runs: Sequence[RunInfo], paths: Sequence[str], started: float) -> Iterator[str]:
    """What is wrong with the results: every file once, its digest right, retried when it should have been."""
    by_path = {run.input["path"]: run for run in runs}
    if len(by_path) != len(runs):
        yield f"{len(runs)} runs for {len(by_path)} files"
    for path in paths:
        run = by_path.get(path)
        if run is None:
            yield f"{path}: no run"
        elif (said := _mistake(run, Path(path), started)) is not None:
            yield f"{path}: {said}"


def _mistake(run: RunInfo, file: Path, started: float) -> str | None:
    try:
        if file.stat().st_mtime > started:
            return None  # changed meanwhile: who knows which version was indexed
        digest = digest_of(file)
    except OSError:
        return None  # gone meanwhile
    if run.status != "completed":
        return f"{run.status}: {run.error}"
    if run.output["sha256"] != digest:
        return f"sha256 is {digest}, not {run.output['sha256']}"
    expected = 2 if is_busy_at_first(digest) else 1
    return None if run.attempt == expected else f"{run.attempt} attempts, not {expected}"


def _walk(directory: Path) -> Iterator[Path]:
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(set(directories) - PASSED_OVER)
        yield from (Path(parent, name) for name in sorted(names))


def _is_usable(file: Path) -> bool:
    try:
        str(file).encode()  # a name that is not text cannot be sent as JSON
        return file.is_file() and os.access(file, os.R_OK) and file.stat().st_size <= LARGEST_FILE
    except (OSError, UnicodeEncodeError):
        return False
