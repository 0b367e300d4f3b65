"""A schema of another name, however it is written, works from end to end, beside one of the usual name."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from openqueue import task
from openqueue.clients import open_client
from openqueue.db.migrations import migrate
from openqueue.settings import load_settings
from openqueue.tasks.control import Snooze
from openqueue.worker.events import BellChanged
from tests.engine.calls import Engine
from tests.support.worker_here import working


@task(name="greet", max_attempts=3, backoff="10ms")
async def greet(name: str) -> str:
    if name not in seen:
        seen.append(name)
        raise Snooze("10ms") if name == "later" else ValueError(name)
    return f"hello {name}"


seen: list[str] = []


@pytest.mark.parametrize("name", ['Work "Queue"', "o'neill; $$ --", "jobs", "Ünïcode", "x" * 63])
async def test_a_schema_of_any_name_works_from_end_to_end(
    dsn: str, db: asyncpg.Connection, name: str
) -> None:
    seen.clear()
    await migrate(dsn, name)
    settings: dict[str, Any] = {"schema_name": name, "poll_interval": "1h"}
    async with (
        open_client(load_settings(database_url=dsn, **settings)) as client,
        working(dsn, greet, **settings) as here,
    ):
        await here.wait_for(BellChanged)
        async with db.transaction():  # so that the first is not begun before the second comes
            runs = [
                await client.enqueue(greet.options(key=name[:9], delay=0.05).item(who), connection=db)
                for who in ("bob", "later")
            ]
        assert runs[1].outcome == "replaced"
        runs[0] = await client.enqueue(greet.item("bob"))
        assert [await run.result(timeout="60s") for run in runs] == ["hello bob", "hello later"]
        assert [event.event for event in await runs[0].events()] == [
            "enqueued", "started", "retried", "started", "completed"
        ]  # fmt: skip
        assert await runs[0].retry() == "ready"
        assert await runs[0].result(timeout="60s") == "hello bob"
        waiting = await client.enqueue(greet.options(delay="1h").item("x"))
        assert await waiting.cancel() == "cancelled"
    other = Engine(db, schema=name)
    gone = await other.sql("DELETE FROM runs RETURNING status")
    assert sorted(row["status"] for row in gone) == ["cancelled", "completed", "completed"]
    assert await db.fetchval("SELECT count(*) FROM openqueue.run_requests") == 0
