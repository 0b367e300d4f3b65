"""Fixtures of all tests: a server for the session, a fresh database for each test that asks for one."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from tests.support.databases import Databases
from tests.support.invariants import assert_sound
from tests.support.own_server import OwnServer
from tests.support.servers import SESSION, chosen_binaries, reserved, session_server

# Property tests look at rules, not at the clock: a busy machine is no counterexample. In the gate each tries
# the same examples every time, so that whoever makes a counterexample meets it; "explore" looks for new ones.
settings.register_profile(
    "openqueue", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "openqueue"))

_SERVERS = {"server_dsn", "own_server"}
_SESSION = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Reserve the session's server before xdist starts its workers, which inherit the environment."""
    os.environ.pop("OPENQUEUE_DATABASE_URL", None)  # no test touches a developer's database
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        stack.enter_context(reserved())
        config.stash[_SESSION] = stack


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the session leaves; by now the last worker has stopped the server."""
    if stack := config.stash.get(_SESSION, None):
        stack.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what depends on PostgreSQL: `-m database` is what another version of it is tested with.

    Full sizes and long attacks run only where they are asked for (`make scale`, `-m chaos`).
    """
    for item in items:
        if not _SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.database)
    for marker in ("scale", "chaos"):
        if marker not in config.option.markexpr:
            left = [item for item in items if item.get_closest_marker(marker)]
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """The session's server, shared by all xdist workers: its maintenance database."""
    with session_server() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def databases(server_dsn: str) -> Iterator[Databases]:
    """Where this process makes its databases, for tests that need more than one."""
    maker = Databases(server_dsn, os.environ[SESSION], os.environ.get("PYTEST_XDIST_WORKER", "main"))
    yield maker
    maker.close()


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """A fresh database with openqueue's schema."""
    made = databases.create()
    yield made
    databases.drop(made)


@pytest.fixture
def empty_dsn(databases: Databases) -> Iterator[str]:
    """A fresh database with nothing in it."""
    made = databases.create(migrated=False)
    yield made
    databases.drop(made)


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database `dsn`, in which every row is sound at the end."""
    connection = await asyncpg.connect(dsn)
    yield connection
    if connection.is_closed() or connection.is_in_transaction():
        await connection.close(timeout=60)
        connection = await asyncpg.connect(dsn)
    await assert_sound(connection)
    await connection.close(timeout=60)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server of the test's own, with fsync, to be stopped, killed and started again."""
    with OwnServer.temporary(chosen_binaries()) as server:
        yield server
