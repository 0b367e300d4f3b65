"""A worker that was declared dead appears again with its next beat; one that is about to leave does not."""

from __future__ import annotations

from typing import Any

from openqueue import task
from openqueue.worker.events import WorkerGivenUp
from tests.support.worker_here import WorkerHere, working


@task(name="noop")
async def noop() -> None:
    pass


async def beat(here: WorkerHere) -> None:
    """One more than those of its own heartbeat."""
    heartbeat = here.worker._heartbeat()
    connection = await heartbeat._connected()
    try:
        await heartbeat._once(connection)
    finally:
        await connection.close()


async def known(db: Any) -> int:
    return int(await db.fetchval("SELECT count(*) FROM openqueue.workers"))


async def test_one_that_was_declared_dead_appears_again(dsn: str, db: Any) -> None:
    async with working(dsn, noop) as here:
        await db.execute("DELETE FROM openqueue.workers")
        await beat(here)
        assert await known(db) == 1
        await here.wait_for(WorkerGivenUp)


async def test_one_that_has_said_that_it_goes_stays_away(dsn: str, db: Any) -> None:
    """Its beat was under way when the second signal came, and is answered after its leave."""
    async with working(dsn, noop) as here:
        here.worker.leaving()
        await db.execute("DELETE FROM openqueue.workers")
        await beat(here)
        assert await known(db) == 0
        assert not here.heard(WorkerGivenUp)
