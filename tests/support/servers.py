"""The PostgreSQL that a test session runs against.

Embedded by default; OPENQUEUE_TEST_PG_BIN names the programs of another version. The process that pytest
was started in only reserves a directory; each xdist worker that needs a database becomes a user of the
server in it, and the last one stops it. OPENQUEUE_TEST_DATABASE_URL names a server that runs anyway (its
user must be allowed to create databases), OPENQUEUE_TEST_CONTAINERS=1 has testcontainers start one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from openqueue.dev.embedded import EmbeddedPostgres
from openqueue.dev.locks import FileLock
from openqueue.testing.servers import BIN, FAST, in_memory
from tests.support.databases import drop_all

DIRECTORY = "OPENQUEUE_TEST_DIRECTORY"
SESSION = "OPENQUEUE_TEST_SESSION"
URL = "OPENQUEUE_TEST_DATABASE_URL"
CONTAINERS = "OPENQUEUE_TEST_CONTAINERS"
IMAGE = "OPENQUEUE_TEST_IMAGE"

SETTINGS = {
    **FAST,
    "shared_buffers": "256MB",
    "max_prepared_transactions": "50",
    "autovacuum": "off",  # it comes when it likes: plans, locks and dead rows would differ from run to run
}
_PREFIX = "openqueue-tests-"
_MEMORY = Path("/dev/shm")


@contextmanager
def reserved() -> Iterator[None]:
    """For the process that pytest was started in: say where the session's server is, clean up at the end."""
    os.environ[SESSION] = uuid4().hex[:12]
    with _directory():
        if os.environ.get(CONTAINERS) == "1" and not os.environ.get(URL):
            with _container():
                yield
        else:
            yield
            if url := os.environ.get(URL):
                drop_all(url, os.environ[SESSION])


@contextmanager
def session_server() -> Iterator[str]:
    """For a process that runs tests: the address of the session's server, as its superuser or creator."""
    if url := os.environ.get(URL):
        yield url
        return
    directory = Path(os.environ[DIRECTORY]) / "server"
    with EmbeddedPostgres(directory, settings=SETTINGS, binaries=chosen_binaries()) as server:
        yield server.dsn()


def chosen_binaries() -> Path | None:
    """The programs of the version under test, if one was chosen."""
    given = os.environ.get(BIN)
    return Path(given) if given else None


@contextmanager
def _directory() -> Iterator[None]:
    """A temporary directory for all that this session makes, which the server's account may enter."""
    _remove_abandoned()
    before = os.environ.get("TMPDIR")
    with _made(in_memory(8 * 2**30)) as server, _made(None) as directory:
        os.environ[DIRECTORY] = str(server)
        os.environ["TMPDIR"] = tempfile.tempdir = str(directory)
        try:
            yield
        finally:
            tempfile.tempdir = None
            os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)


@contextmanager
def _made(base: Path | None) -> Iterator[Path]:
    """A directory that is removed at the end, or by a later session if this one is killed."""
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    directory.chmod(0o755)
    reservation = FileLock(directory / "session.lock")
    reservation.take()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        reservation.release()


@contextmanager
def _container() -> Iterator[None]:
    from testcontainers.postgres import PostgresContainer

    image = os.environ.get(IMAGE, "postgres:18")
    with PostgresContainer(image, driver=None) as container:
        os.environ[URL] = container.get_connection_url()
        try:
            yield
        finally:
            del os.environ[URL]


def _remove_abandoned() -> None:
    """Remove what a killed session left; its server has stopped by itself."""
    bases = (Path(tempfile.gettempdir()), _MEMORY)
    for directory in (found for base in bases for found in base.glob(f"{_PREFIX}*")):
        lock = directory / "session.lock"
        if lock.exists() and lock.stat().st_uid == os.geteuid() and FileLock(lock).is_free():
            shutil.rmtree(directory, ignore_errors=True)
