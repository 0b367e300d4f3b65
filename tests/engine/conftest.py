"""What tests of the engine share: a worker on the test's connection, and more connections beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from tests.engine.calls import Engine

Another = Callable[[], Awaitable[Engine]]


@pytest.fixture
async def engine(db: asyncpg.Connection) -> Engine:
    """A worker on the test's connection."""
    return Engine(db)


@pytest.fixture
async def another(dsn: str) -> AsyncIterator[Another]:
    """Makes more workers, each on a connection of its own."""
    async with AsyncExitStack() as stack:

        async def make() -> Engine:
            connection: Any = await asyncpg.connect(dsn)
            stack.push_async_callback(connection.close, timeout=60)
            return Engine(connection)

        yield make
