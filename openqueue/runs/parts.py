"""A batch of items, cut into parts that are one statement each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from openqueue.errors import InvalidOption, shown
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.options import NO_OPTIONS

__all__ = ["Part", "chained", "no_item", "parts"]

MOST_WITH_OPTIONS = 20_000
MOST_TEXT = 16 * 1024 * 1024
"""Characters of inputs after which a part ends: a statement has to fit into memory, here and there."""

BREATH = 250
"""Items after which the event loop is left to others for a moment."""


class Part(list[Item[Any]]):
    """Items of a batch that go together; `first` is the place of the first of them in the batch."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first


def no_item(place: str, given: object) -> InvalidOption:
    """The error of what was given in place of an item."""
    return InvalidOption(
        f"{place}: {shown(given)} is not an item; make one with `task.item(...)`.",
        option=place.partition("[")[0],
    )


async def parts(items: Iterable[Item[Any]], most: int) -> AsyncIterator[Part]:
    """Cut items into lists of `most`, without keeping the event loop busy while they are made.

    Where an item has options of its own the part has up to 20,000: keys are sorted within a statement, so
    the larger it is the less do two batches meet each other's. Raises InvalidOption for what is no item.
    """
    part = Part(0)
    end, text = most, 0
    for place, item in enumerate(items):
        if not isinstance(item, Item):
            raise no_item(f"items[{place}]", item)
        if len(part) == end or text > MOST_TEXT:
            yield part
            part, end, text = Part(place), most, 0
            await asyncio.sleep(0)
        part.append(item)
        text += len(item.input)
        if item.options is not NO_OPTIONS:
            end = MOST_WITH_OPTIONS
        if not len(part) % BREATH:
            await asyncio.sleep(0)
    if part:
        yield part


async def chained(made: Sequence[Part], coming: AsyncIterator[Part]) -> AsyncIterator[Part]:
    """The parts that are there, then those to come."""
    for part in made:
        yield part
    async for part in coming:
        yield part
