"""The PostgreSQL that a test session runs against, when you give none: embedded, gone afterwards.

Its files lie in memory if there is room, else in the temporary directory. The process in which pytest was
started only names the session (`reserve`); each process that runs tests, one for each worker of
pytest-xdist, becomes a user of the one server, and the last one stops it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

from openqueue.dev.account import server_account
from openqueue.dev.embedded import EmbeddedPostgres
from openqueue.dev.locks import FileLock
from openqueue.dev.places import temporary_directories

__all__ = ["BIN", "FAST", "in_memory", "new_session", "remove_abandoned", "remove_files", "session_server"]

BIN = "OPENQUEUE_TEST_PG_BIN"
"""The variable that names the directory of PostgreSQL's programs, for another version."""

FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "1h",
    "autovacuum_naptime": "10s",
    "max_connections": "400",
}
"""Tests end databases, not machines: nothing has to reach the disk."""

PREFIX = "openqueue-pytest-"
_MEMORY = Path("/dev/shm")  # noqa: S108  names in it are checked
_ROOM = 2 * 2**30
_YOUNG = 60.0
"""Seconds for which a directory that nobody uses is left alone: its user may be about to come."""


@contextmanager
def session_server(session: str, binaries: Path | None = None) -> Iterator[str]:
    """For a process that runs tests: the URL of the session's server, as its superuser.

    Raises ConfigError, with the remedies, when PostgreSQL's programs are not found.
    """
    remove_abandoned()
    directory = _directory(session)
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)  # the server's account may be another one
    using = FileLock(directory / "session.lock")
    using.take(shared=True)
    try:
        with EmbeddedPostgres(directory / "server", settings=FAST, binaries=binaries or _chosen()) as server:
            yield server.dsn()
    finally:
        using.release()


def remove_files(session: str) -> None:
    """Remove what a session leaves, once its last process has stopped the server."""
    for base in _bases():
        shutil.rmtree(base / f"{PREFIX}{session}", ignore_errors=True)


def remove_abandoned() -> None:
    """Remove what killed sessions left; their servers have stopped by themselves."""
    for directory in (found for base in _bases() for found in base.glob(f"{PREFIX}*")):
        lock = directory / "session.lock"
        try:
            old = time.time() - directory.stat().st_mtime > _YOUNG
            if old and lock.stat().st_uid == os.geteuid() and FileLock(lock).is_free():
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:  # somebody else was quicker, or it is not ours
            continue


def in_memory(room: int = _ROOM) -> Path | None:
    """Where files lie in memory, if so many bytes are free: there a database is made three times as fast."""
    try:
        free = shutil.disk_usage(_MEMORY).free
    except OSError:
        return None
    return _MEMORY if free > room and os.access(_MEMORY, os.W_OK) else None


def new_session() -> str:
    """A name for a session."""
    return uuid4().hex[:12]


def _directory(session: str) -> Path:
    """The same for all processes of a session: where it is already, else where there is room."""
    there = (base / f"{PREFIX}{session}" for base in _bases())
    return next((found for found in there if found.exists()), _chosen_base() / f"{PREFIX}{session}")


def _chosen_base() -> Path:
    return in_memory() or next(temporary_directories(server_account()), Path(tempfile.gettempdir()))


@cache
def _bases() -> list[Path]:
    """Where a session's files may lie."""
    return list(
        dict.fromkeys([_MEMORY, *temporary_directories(server_account()), Path(tempfile.gettempdir())])
    )


def _chosen() -> Path | None:
    given = os.environ.get(BIN)
    return Path(given) if given else None
