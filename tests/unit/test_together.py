"""Enqueues at the same time: who goes alone, who goes together, and who pays for a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from openqueue import task
from openqueue.errors import ConnectionFailed, InvalidOption
from openqueue.runs.together import MOST, MOST_TEXT, Together
from openqueue.tasks.enqueuer import Item
from tests.support.eventually import eventually


@task(name="one")
async def one(value: int) -> None: ...


@task(name="two")
async def two(value: int) -> None: ...


class Stored:
    """Stands for the client: keeps each statement until it is let go."""

    def __init__(self) -> None:
        self.statements: list[list[str]] = []
        self.open = asyncio.Semaphore(0)
        self.fail: dict[str, Exception] = {}

    async def store(self, items: Sequence[Item[Any]]) -> list[Any]:
        inputs = [f"{item.task}{item.input}" for item in items]
        self.statements.append(inputs)
        await self.open.acquire()
        for text in inputs:
            if text in self.fail:
                raise self.fail[text]
        return inputs

    def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self.open.release()


def item(value: int, of: Any = one) -> Item[None]:
    return Item(of, str(value))


async def started(together: Together, *items: Item[Any]) -> list[asyncio.Task[Any]]:
    """Enqueue each in a task of its own; they have come as far as they can."""
    tasks = [asyncio.create_task(together.enqueue(one)) for one in items]
    await asyncio.sleep(0)
    return tasks


async def test_the_first_two_go_at_once_and_those_that_come_meanwhile_share_the_next() -> None:
    stored = Stored()
    together = Together(stored.store)
    calls = await started(together, *(item(n) for n in range(6)))
    assert stored.statements == [["one0"], ["one1"]]
    stored.let_go()
    await eventually(lambda: len(stored.statements) == 3)
    assert stored.statements[2] == ["one2", "one3", "one4", "one5"]
    assert [call.done() for call in calls] == [True] + [False] * 5
    stored.let_go(2)
    assert await asyncio.gather(*calls) == [f"one{n}" for n in range(6)]


async def test_different_tasks_have_statements_of_their_own_and_a_batch_is_bounded() -> None:
    stored = Stored()
    together = Together(stored.store)
    await started(together, item(-1), item(-2))
    calls = await started(together, item(0), item(0, two), *(item(n) for n in range(1, MOST + 2)))
    stored.let_go(100)
    await asyncio.gather(*calls)
    assert [len(statement) for statement in stored.statements] == [1, 1, MOST, 1, 2]
    assert stored.statements[3] == ["two0"]


async def test_large_inputs_do_not_share_a_statement_without_bound() -> None:
    stored = Stored()
    together = Together(stored.store)
    large = Item(one, "x" * (MOST_TEXT // 2))
    await started(together, item(-1), item(-2))
    calls = await started(together, *[large] * 5)
    stored.let_go(100)
    await asyncio.gather(*calls)
    assert [len(statement) for statement in stored.statements] == [1, 1, 2, 2, 1]


async def test_one_that_is_refused_is_told_so_and_the_others_are_stored() -> None:
    stored = Stored()
    together = Together(stored.store)
    stored.fail["one3"] = InvalidOption("no", option="x")
    calls = await started(together, *(item(n) for n in range(5)))
    stored.let_go(100)
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(told.pop(3), InvalidOption)
    assert told == ["one0", "one1", "one2", "one4"]


async def test_a_lost_connection_is_told_to_each_and_nothing_is_sent_again() -> None:
    stored = Stored()
    together = Together(stored.store)
    stored.fail["one3"] = ConnectionFailed("gone")
    calls = await started(together, *(item(n) for n in range(5)))
    stored.let_go(100)
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(one) for one in told] == ["one0", "one1", "gone", "gone", "gone"]
    assert len({id(one) for one in told}) == 5
    assert len(stored.statements) == 3


async def test_who_leaves_while_waiting_is_not_stored_and_who_leaves_later_holds_up_nobody() -> None:
    stored = Stored()
    together = Together(stored.store)
    calls = await started(together, *(item(n) for n in range(5)))
    calls[3].cancel()
    await asyncio.sleep(0)
    stored.let_go()
    await eventually(lambda: len(stored.statements) == 3)
    assert stored.statements[2] == ["one2", "one4"]
    calls[0].cancel()
    calls[4].cancel()
    stored.let_go(100)
    assert await calls[2] == "one2"
    with pytest.raises(asyncio.CancelledError):
        await calls[4]
    (late,) = await started(together, item(9))
    assert await late == "one9"


async def test_the_place_of_one_that_was_cancelled_is_free_again() -> None:
    stored = Stored()
    together = Together(stored.store)
    calls = await started(together, *(item(n) for n in range(3)))
    for call in calls[:2]:
        call.cancel()
    await eventually(lambda: len(stored.statements) == 3)
    stored.let_go(3)
    assert await calls[2] == "one2"
