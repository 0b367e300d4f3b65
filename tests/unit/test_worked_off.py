"""When there is nothing left to work on: a look that missed what ended beside it does not count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from openqueue.events import Events
from openqueue.worker.completer import Completer
from openqueue.worker.draining import worked_off
from openqueue.worker.storing.journal import RunJournal


class Database:
    """No database: nothing is stored here."""

    outage: Any = None


class Looking:
    """A producer of which each look does something, and finds so many."""

    def __init__(self, *looks: Callable[[], int]) -> None:
        self.left = [*looks]

    async def look(self) -> int:
        return self.left.pop(0)()


def a_completer() -> Completer:
    database: Any = Database()
    return Completer(database, uuid4(), RunJournal(), Events())


class Gone:
    """A job that has left."""

    claim = 1


async def test_it_is_over_after_a_look_that_finds_nothing() -> None:
    looking: Any = Looking(lambda: 2, lambda: 0)
    async with asyncio.timeout(60):
        await worked_off(a_completer(), [looking])
    assert looking.left == []


async def test_a_look_beside_which_something_was_claimed_and_ended_does_not_count() -> None:
    completer, gone = a_completer(), Gone()

    def beside() -> int:
        completer.claimed(1, 1)
        completer.gone(gone)  # type: ignore[arg-type]
        return 0

    looking: Any = Looking(beside, lambda: 0)
    async with asyncio.timeout(60):
        await worked_off(completer, [looking])
    assert looking.left == []


async def test_what_is_claimed_before_anybody_looks_is_waited_for() -> None:
    completer, gone = a_completer(), Gone()
    completer.claimed(1, 1)
    looking: Any = Looking(lambda: 0)

    def end() -> None:
        assert len(looking.left) == 1
        completer.gone(gone)  # type: ignore[arg-type]

    asyncio.get_running_loop().call_soon(end)
    async with asyncio.timeout(60):
        await worked_off(completer, [looking])
    assert looking.left == []
