"""Enqueues that happen at the same time share a statement, and so a commit.

The first goes at once. While it is under way others gather, and go together when it is answered: nobody
waits for the sake of company, and the more there are the less each costs. Each still returns after its
commit, and one that is refused does not take the others with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any, Final

from openqueue.errors import ConnectionFailed
from openqueue.runs.model import Run
from openqueue.tasks.enqueuer import Item

__all__ = ["Together"]

UNDER_WAY: Final = 2
"""Statements at once: while one waits for its commit the next can be on its way."""

MOST: Final = 1_000
"""Items in a shared statement."""

MOST_TEXT: Final = 1024 * 1024
"""Characters of their inputs after which it is full: nobody waits long for the large ones of others."""

Store = Callable[[Sequence[Item[Any]]], Awaitable[Sequence[Run[Any]]]]


class Together:
    """Stores items that have nothing but their task and input, by `store`, which takes some of one task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._under_way: set[asyncio.Task[None]] = set()
        self._alone = 0
        self._waiting: deque[tuple[Item[Any], asyncio.Future[Run[Any]]]] = deque()

    async def enqueue(self, item: Item[Any]) -> Run[Any]:
        """Store one item; raises what storing it alone would raise."""
        if self._full():
            stored: asyncio.Future[Run[Any]] = asyncio.get_running_loop().create_future()
            self._waiting.append((item, stored))
            return await stored
        self._alone += 1
        try:
            (run,) = await self._store([item])
            return run
        finally:
            self._alone -= 1
            self._go_on()

    def _full(self) -> bool:
        return self._alone + len(self._under_way) >= UNDER_WAY

    def _go_on(self) -> None:
        """Send what has gathered, as far as statements are free."""
        while self._waiting and not self._full():
            batch = self._gathered()
            if batch:
                sending = asyncio.create_task(self._send(batch), name="openqueue:enqueue")
                self._under_way.add(sending)
                sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._under_way.discard(sending)
        self._go_on()

    def _gathered(self) -> list[tuple[Item[Any], asyncio.Future[Run[Any]]]]:
        """Those of the first one's task, without those whose caller has left."""
        taken: list[tuple[Item[Any], asyncio.Future[Run[Any]]]] = []
        left: deque[tuple[Item[Any], asyncio.Future[Run[Any]]]] = deque()
        text = 0
        for one in self._waiting:
            if one[1].done():
                continue
            same = not taken or one[0].what is taken[0][0].what
            if same and len(taken) < MOST and text < MOST_TEXT:
                taken.append(one)
                text += len(one[0].input)
            else:
                left.append(one)
        self._waiting = left
        return taken

    async def _send(self, batch: list[tuple[Item[Any], asyncio.Future[Run[Any]]]]) -> None:
        try:
            runs = await self._store([item for item, _ in batch])
        except ConnectionFailed as error:
            for _, stored in batch:
                _fail(stored, copy(error))  # each raises its own, with its own traceback
        except Exception as error:  # noqa: BLE001  it is handed to who asked
            if len(batch) == 1:
                _fail(batch[0][1], error)
            else:  # nothing was stored; whose fault it is comes out one by one
                for one in batch:
                    await self._send([one])
        else:
            for run, (_, stored) in zip(runs, batch, strict=True):
                if not stored.done():
                    stored.set_result(run)


def _fail(stored: asyncio.Future[Run[Any]], error: Exception) -> None:
    if not stored.done():
        stored.set_exception(error)
