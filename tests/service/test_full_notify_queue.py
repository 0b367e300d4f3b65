"""The server's queue of notifications is full: nothing is lost, it is said, and it is over once it can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from openqueue import ConnectionFailed, task
from openqueue.clients import open_client
from openqueue.db.migrations import migrate
from openqueue.settings import load_settings
from openqueue.worker.events import ServiceStumbled
from tests.doctor.patient import connected
from tests.support.eventually import eventually
from tests.support.own_server import OwnServer
from tests.support.servers import chosen_binaries
from tests.support.worker_here import working

begun, opened = asyncio.Event(), asyncio.Event()


@task(name="full.wait")
async def wait() -> str:
    begun.set()
    await opened.wait()
    return "done"


@asynccontextmanager
async def full(dsn: str) -> AsyncIterator[None]:
    """Within the block no transaction of the server can notify."""
    async with connected(dsn) as holder, connected(dsn) as other:
        await holder.execute("LISTEN anything")
        await holder.execute("BEGIN; SELECT 1")
        size, n = 4096, 0
        while size:
            try:
                n += 1
                await other.execute(f"SELECT pg_notify('anything', {n} || repeat('x', {size}))")
            except asyncpg.ProgramLimitExceededError:
                size //= 2
        yield


@pytest.fixture
async def small() -> AsyncIterator[str]:
    """A server of its own whose queue is small; before PostgreSQL 17 it has 8 GB, which cannot be chosen."""
    with OwnServer.temporary(chosen_binaries()) as server:
        async with connected(server.dsn()) as db:
            if db.get_server_version().major < 17:
                pytest.skip("MISSING: the size of the queue cannot be chosen before PostgreSQL 17")
            await db.execute("ALTER SYSTEM SET max_notify_queue_pages = 64")
        server.stop("fast")
        server.start()
        await migrate(server.dsn())
        yield server.dsn()


async def test_what_was_done_meanwhile_is_stored_once_there_is_room_and_an_enqueue_says_what_is_wrong(
    small: str,
) -> None:
    async with working(small, wait) as here, open_client(load_settings(database_url=small)) as client:
        run = await client.enqueue(wait.item())
        await begun.wait()
        result = asyncio.ensure_future(run.result("120s"))
        await eventually(lambda: client._waiting._waiters)
        async with full(small):
            with pytest.raises(ConnectionFailed, match="doctor --only notify-queue"):
                await client.enqueue(wait.item())
            opened.set()
            await here.wait_for(ServiceStumbled)
        assert await result == "done"
        assert await (await client.enqueue(wait.item())).result("120s") == "done"
