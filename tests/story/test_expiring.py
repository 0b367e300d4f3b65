"""A run whose deadline passes after its claim and before its start."""

from __future__ import annotations

import asyncpg
import pytest

import openqueue
from openqueue import RunExpired, task
from openqueue.telemetry.logs import LINES
from openqueue.worker.events import ExpiredBeforeStart, LeaseWasLost
from tests.support.deadlines import deadlines_pass
from tests.support.worker_here import working

BEGUN: list[int] = []


@task(name="late")
async def late(number: int) -> None:
    BEGUN.append(number)


async def test_it_is_told_as_expired_and_not_as_a_lost_lease(dsn: str, db: asyncpg.Connection) -> None:
    BEGUN.clear()
    async with openqueue.connect(dsn):
        run = await late.options(deadline="1h").enqueue(1)
        await db.execute(
            "UPDATE openqueue.jobs SET suspect = true"
        )  # such a one is asked for before it begins
        async with working(dsn, late, prepare=deadlines_pass) as here:
            with pytest.raises(RunExpired):
                await run.result(timeout="60s")
            told = await here.wait_for(ExpiredBeforeStart)
    assert (told.run_id, told.task) == (run.id, "late")
    assert here.heard(LeaseWasLost) == []
    assert BEGUN == []
    assert "expired" in LINES[ExpiredBeforeStart].text  # type: ignore[union-attr]
