"""A server on which nothing but the test happens, so that what it counts is what the test did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from openqueue.testing.databases import Databases
from openqueue.testing.servers import FAST
from tests.bench.meter import SETTINGS, Meter, metering
from tests.support.own_server import OwnServer
from tests.support.servers import chosen_binaries


@pytest.fixture(scope="session")
def quiet_databases() -> Iterator[Databases]:
    """Where databases are made; autovacuum and checkpoints, which write when they please, are off."""
    with OwnServer.temporary(chosen_binaries(), {**FAST, **SETTINGS, "autovacuum": "off"}) as server:
        maker = Databases(server.dsn(), "bench")
        yield maker
        maker.close()


@pytest.fixture
def quiet_dsn(quiet_databases: Databases) -> Iterator[str]:
    """A fresh database with openqueue's schema."""
    made = quiet_databases.create()
    yield made
    quiet_databases.drop(made)


@pytest.fixture
async def meter(quiet_dsn: str) -> AsyncIterator[Meter]:
    """What is spent in it."""
    async with metering(quiet_dsn) as made:
        yield made
