"""The pytest plugin: the fixture `openqueue`, and the server and databases behind it.

Pytest loads this file in every session where openqueue is installed: so it imports nothing, and starts
nothing, before a fixture is used. Each fixture may be overridden: `openqueue_server` with your own server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from openqueue.testing import OpenQueue
    from openqueue.testing.databases import Databases
    from openqueue.testing.portal import Portal

__all__ = ["openqueue", "openqueue_database_url", "openqueue_server"]

URL = "OPENQUEUE_TEST_DATABASE_URL"
SESSION = "OPENQUEUE_TEST_PYTEST_SESSION"
_used = pytest.StashKey[str]()
"""Set once there are databases: the URL of a server that goes on without us, or nothing."""


def pytest_configure(config: pytest.Config) -> None:
    """Name the session before pytest-xdist starts its workers, which inherit the environment."""
    if not hasattr(config, "workerinput"):
        os.environ[SESSION] = os.urandom(6).hex()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that pytest was started in what there is to be removed."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["openqueue"] = session.config.stash.get(_used, None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended."""
    used = getattr(node, "workeroutput", {}).get("openqueue")
    if used is not None:
        node.config.stash[_used] = used


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the session leaves; by now its last process has stopped the server."""
    used = config.stash.get(_used, None)
    if used is None or hasattr(config, "workerinput"):
        return
    from openqueue.testing.databases import Databases
    from openqueue.testing.servers import remove_files

    if used:
        databases = Databases(used, os.environ[SESSION])
        databases.drop_all()
        databases.close()
    else:
        remove_files(os.environ[SESSION])


@pytest.fixture(scope="session")
def openqueue_server() -> Iterator[str]:
    """The server's URL: OPENQUEUE_TEST_DATABASE_URL (its user may create databases), or an embedded one."""
    if url := os.environ.get(URL):
        yield url
        return
    from openqueue.testing.servers import session_server

    with session_server(os.environ[SESSION]) as own:
        yield own


@pytest.fixture(scope="session")
def _openqueue_portal() -> Iterator[Portal]:
    from openqueue.testing.portal import Portal

    portal = Portal()
    yield portal
    portal.close()


@pytest.fixture(scope="session")
def _openqueue_databases(
    openqueue_server: str, _openqueue_portal: Portal, pytestconfig: pytest.Config
) -> Iterator[Databases]:
    from openqueue.settings import load_settings
    from openqueue.testing.databases import Databases

    pytestconfig.stash[_used] = openqueue_server if openqueue_server == os.environ.get(URL) else ""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    schema = load_settings().schema_name
    databases = Databases(
        openqueue_server, os.environ[SESSION], worker, schema=schema, portal=_openqueue_portal
    )
    yield databases
    databases.close()


@pytest.fixture
def openqueue_database_url(_openqueue_databases: Databases) -> Iterator[str]:
    """A fresh database with openqueue's schema, dropped at the end of the test."""
    url = _openqueue_databases.create()
    yield url
    _openqueue_databases.drop(url)


@pytest.fixture
def openqueue(openqueue_database_url: str, _openqueue_portal: Portal) -> Iterator[OpenQueue]:
    """A real queue on a real PostgreSQL, without a worker process; see `openqueue.testing.OpenQueue`."""
    from openqueue.testing import OpenQueue

    queue = OpenQueue(openqueue_database_url, _openqueue_portal)
    with queue.in_use():
        yield queue
