"""How items are stored: one, those that come at the same time, or a large batch in parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from openqueue.db.connections import Executor, adapt
from openqueue.db.pool import Database
from openqueue.errors import InvalidOption
from openqueue.runs.enqueueing import DAY, Batch, is_plain
from openqueue.runs.model import Run
from openqueue.runs.parts import Part, chained, parts
from openqueue.runs.together import Together
from openqueue.runs.tracing import Tracer
from openqueue.tasks.enqueuer import Item

if TYPE_CHECKING:
    from openqueue.runs.client import Client

__all__ = ["AT_ONCE", "Storing"]

R = TypeVar("R")

AT_ONCE: Final = 2_000
MOST_AT_ONCE: Final = 20_000
"""Jobs in a statement, on our own connection and on the caller's; more go in several, in a transaction."""


class Storing:
    """Stores items for a client, over `database` or the caller's connection; `largest` input in bytes.

    `ttl` is for how many seconds an idempotency key is remembered.
    """

    def __init__(
        self,
        client: Client,
        database: Database,
        namespace: str,
        largest: int,
        ttl: float = DAY,
        tracer: Tracer | None = None,
    ) -> None:
        self._client = client
        self._database = database
        self._own: Any = database
        self._namespace = namespace
        self._largest = largest
        self._ttl = ttl
        self._tracer = tracer
        self._together = Together(lambda items: self._store(self._own, self._batch(items)))

    async def one(self, item: Item[R], connection: object | None) -> Run[R]:
        """Store one item; see `Client.enqueue`."""
        if self._tracer is None:
            return await self._one(item, connection)
        with self._tracer.enqueueing(item) as sending:
            run = await self._one(sending.carry(item), connection)
            sending.sent([run])
            return run

    async def many(self, items: Iterable[Item[Any]], connection: object | None) -> list[Run[Any]]:
        """Store all or none; see `Client.enqueue_many`."""
        if self._tracer is None:
            return await self._many(items, connection)
        with self._tracer.enqueueing(None) as sending:
            runs = await self._many(map(sending.carry, items), connection)
            sending.sent(runs)
            return runs

    async def _one(self, item: Item[R], connection: object | None) -> Run[R]:
        if connection is None and is_plain(item):
            return await self._together.enqueue(item)
        (run,) = await self._many([item], connection)
        return run

    async def _many(self, items: Iterable[Item[Any]], connection: object | None) -> list[Run[Any]]:
        if connection is not None:
            executor = adapt(connection)
            # All are sound before the first is sent: what else is in the caller's transaction may go on.
            batches = [self._batch(part) async for part in parts(items, MOST_AT_ONCE)]
            if len(batches) < 2:
                return [run for batch in batches for run in await self._store(executor, batch)]
            async with executor.together() as one:
                return [run for batch in batches for run in await self._store(one, batch)]
        coming = parts(items, AT_ONCE)
        first, second = await anext(coming, None), await anext(coming, None)
        if first is None:
            return []
        if second is None:
            return await self._store(self._own, self._batch(first))
        async with self._database.transaction() as own:
            return await self._store_all(adapt(own), [first, second], coming)

    async def _store_all(
        self, executor: Executor, made: Sequence[Part], coming: AsyncIterator[Part]
    ) -> list[Run[Any]]:
        """Store part after part; while the database has one, the next is made."""
        runs: list[Run[Any]] = []
        storing: asyncio.Task[list[Run[Any]]] | None = None
        try:
            async for part in chained(made, coming):
                batch = self._batch(part)
                if storing is not None:
                    runs += await storing
                storing = asyncio.create_task(self._store(executor, batch))
            return runs if storing is None else runs + await storing
        finally:
            if storing is not None and not storing.done():
                storing.cancel()
                await asyncio.wait([storing])

    def _batch(self, items: Sequence[Item[Any]]) -> Batch:
        return Batch.of(items, self._namespace, self._largest, self._ttl)

    async def _store(self, executor: Executor, batch: Batch) -> list[Run[Any]]:
        try:
            rows = await executor.fetch(self._database.text(batch.statement), *batch.arguments)
        except InvalidOption as error:
            raise batch.refusal(error) from error.__cause__
        return batch.runs(self._client, rows)
