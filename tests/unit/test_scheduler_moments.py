"""The database's clock, told from its answers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from openqueue.scheduler.moments import DatabaseClock

AHEAD = timedelta(hours=1)


class Slow:
    """A database an hour ahead, whose answers take a while on the way back."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def fetchval(self, statement: str) -> datetime:
        told = datetime.now(UTC) + AHEAD
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            pass
        return told


async def test_a_slow_answer_spoils_nothing() -> None:
    database: Any = Slow()
    clock = DatabaseClock(database)
    await clock.measure()
    before = clock._zero
    assert before is not None
    database.seconds = 0.2
    await clock.measure()
    assert clock._zero is not None
    assert abs(clock._zero - before) < timedelta(seconds=0.1), (
        "the middle of the slow one would be that far off"
    )
    assert abs(clock.now() - datetime.now(UTC) - AHEAD) < timedelta(seconds=1)
