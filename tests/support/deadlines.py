"""Deadlines that pass at the last moment: while the database is asked whether an attempt may begin."""

from __future__ import annotations

from typing import Any

__all__ = ["deadlines_pass"]

PASS = "UPDATE openqueue.jobs SET deadline = now() WHERE deadline > now() AND deadline < 'infinity'"
"""What has passed stays so, where several ask at once."""


def deadlines_pass(worker: Any) -> None:
    """To be given to a worker before it runs (`prepare=`)."""
    worker._starter._database = _DeadlinesPass(worker._starter)


class _DeadlinesPass:
    """The worker's database, in which every deadline has passed when it is asked whether one may begin.

    Just then the worker also has its look at what has begun since the last one.
    """

    def __init__(self, starter: Any) -> None:
        self._starter = starter
        self._database = starter._database

    async def fetchval(self, statement: str, *args: Any) -> Any:
        *_, begun = args
        if statement == "start_jobs" and not begun:
            await self._starter.once()
            await self._database.execute(PASS)
        return await self._database.fetchval(statement, *args)
