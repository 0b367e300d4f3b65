"""The rounds of a duty, and the portions within one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from openqueue.cluster.events import DutyFailed
from openqueue.cluster.rounds import portions, rounds
from openqueue.errors import ConnectionFailed
from openqueue.events import Event


def answering(*answers: int | Exception) -> tuple[Callable[[], Awaitable[int]], list[int | Exception]]:
    """One that answers these, one after the other; and what is still to come."""
    left = list(answers)

    async def one() -> int:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return one, left


async def test_one_that_failed_is_told_of_and_the_next_is_made_but_a_fault_of_ours_ends_it() -> None:
    told: list[Event] = []
    once, left = answering(1, ConnectionFailed("away"), 2, ZeroDivisionError(), 3)
    with pytest.raises(ZeroDivisionError):
        await rounds(once, duty="cleaning", every=0, emit=told.append)
    assert told == [DutyFailed("cleaning", "away")]
    assert left == [3]


@pytest.mark.parametrize(("first", "waits"), [(None, [90, 110]), (0, [0, 0]), (7, [7, 7])])
async def test_the_first_comes_when_it_should(
    monkeypatch: pytest.MonkeyPatch, first: float | None, waits: list[float]
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("openqueue.cluster.rounds.asyncio.sleep", sleep)
    once, _ = answering(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await rounds(once, duty="cleaning", every=100, emit=lambda _: None, first=first)
    assert len(slept) == 1
    assert waits[0] <= slept[0] <= waits[1]


@pytest.mark.parametrize(
    ("answers", "total", "after"), [([0, 5], 0, 1), ([10, 10, 3, 5], 23, 1), ([3], 3, 0)]
)
async def test_portions_end_with_one_that_was_not_full(answers: list[int], total: int, after: int) -> None:
    one, left = answering(*answers)
    assert await portions(one, least=10) == total
    assert len(left) == after
