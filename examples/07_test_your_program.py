"""Tests of a program that enqueues: `pytest 07_test_your_program.py`. No worker, no database of yours."""

import asyncio

import pytest

from openqueue.testing import OpenQueue
from tasks.errands import deliver, fetch
from tasks.orders import thank


async def place_order(number: int, customer: str) -> None:
    """Of the program: what is tested here."""
    await thank.options(delay="1h").enqueue(number, customer)


def test_an_order_is_thanked_for_after_an_hour(openqueue: OpenQueue) -> None:
    asyncio.run(place_order(1, "Ada"))
    assert openqueue.enqueued(thank, customer="Ada", queue="mail", delay="1h")

    assert not openqueue.drain_sync()  # nothing is ready
    openqueue.advance("1h")
    (ran,) = openqueue.drain_sync()
    assert ran.output == "Dear Ada, thank you for order 1."


def test_what_fails_is_tried_again(openqueue: OpenQueue) -> None:
    asyncio.run(fetch.enqueue("https://example.org"))
    with pytest.raises(ConnectionError, match="does not answer"):
        openqueue.drain_sync()

    openqueue.advance("1s")
    assert openqueue.drain_sync(raises=False).count("retry") == 1
    openqueue.advance("1s")
    assert openqueue.drain_sync().count("completed") == 1


def test_some_things_do_not_get_better(openqueue: OpenQueue) -> None:
    asyncio.run(deliver.enqueue("1 Nowhere Lane"))
    (ran,) = openqueue.drain_sync(raises=False)
    assert (ran.outcome, str(ran.error)) == ("failed", "there is no 1 Nowhere Lane")
