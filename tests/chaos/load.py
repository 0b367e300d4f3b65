"""People who enqueue while harm is done: in every way there is, and a note of each answer."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg

import openqueue
from openqueue import Client, OpenQueueError
from openqueue.tasks.enqueuer import Item
from tests.chaos import tasks
from tests.chaos.journal import Asked, Journal

__all__ = ["Load", "own_id"]

AWAY = (
    OpenQueueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What an enqueue raises when the database, or the way to it, is away."""


BY_SQL = "SELECT openqueue.add_job($1, $2::text::jsonb)"
"""What the task says holds, as its workers have published it."""


def own_id() -> UUID:
    """A UUIDv7, as a caller brings along who wants to repeat an enqueue."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | (7 << 76) | (2 << 62))


class Load:
    """Enqueues through a client, and over connections of its own that `connect` opens.

    `pace`: seconds between two enqueues of each of its `people`.
    """

    def __init__(
        self,
        dsn: str,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        seed: int,
        *,
        people: int = 2,
        keys: int = 2,
        pace: float = 0.05,
        by_sql: bool = False,
        pooler: str = "none",
    ) -> None:
        self.journal = Journal()
        self._dsn = dsn
        self._connect = connect
        self._random = random.Random(seed)
        self._people, self._keys, self._pace = people, keys, pace
        self._number = 0
        self._by_sql = by_sql
        self._pooler = pooler
        self._ways = [*[self._one] * 6, *[self._repeated] * 3]
        self._ways += [self._many, self._committed, self._rolled_back]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Enqueue for as long as the block takes; afterwards no enqueue is under way."""
        async with AsyncExitStack() as stack:
            stop = asyncio.Event()
            if self._by_sql:
                people = [self._speaks_sql(stop) for _ in range(self._people)]
            else:
                self._client: Client = await stack.enter_async_context(
                    openqueue.connect(self._dsn, pooler=self._pooler)
                )
                people = [self._goes_on(stop) for _ in range(self._people)]
                people += [self._in_order(f"key-{key}", stop) for key in range(self._keys)]
            enqueueing = asyncio.gather(*people)
            try:
                yield
            finally:
                stop.set()
                await enqueueing

    async def accepted(self, more: int) -> None:
        """Return once so many more were accepted."""
        wanted = len(self.journal.accepted()) + more
        while len(self.journal.accepted()) < wanted:  # noqa: ASYNC110  told by nobody
            await asyncio.sleep(0.05)

    async def add(self, kind: str, *arguments: Any, ends: str = "completed", **options: Any) -> Asked:
        """Enqueue one of these, again and again until it is accepted."""
        asked = self._note(kind, ends=ends, run=own_id())
        item = self._task(kind).options(id=asked.run, **options).item(asked.token, *arguments)
        await self._until_accepted(asked, item)
        return asked

    async def _goes_on(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._random.choice(self._ways)()
            await self._pause(stop)

    async def _speaks_sql(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            asked, item = self._some()
            try:
                connection = await self._connect()
                try:
                    asked.run = await connection.fetchval(BY_SQL, f"chaos.{asked.kind}", item.input)
                    asked.answer = "accepted"
                finally:
                    connection.terminate()
            except AWAY:
                asked.answer = "unknown"
            await self._pause(stop)

    async def _in_order(self, key: str, stop: asyncio.Event) -> None:
        """The runs of one key: the next is enqueued when the last is accepted."""
        place = 0
        while not stop.is_set():
            asked = self._note("serial", run=own_id(), ordered=(key, place))
            await self._until_accepted(asked, tasks.serial.options(id=asked.run).item(asked.token, key))
            place += 1
            await self._pause(stop, times=4)

    async def _pause(self, stop: asyncio.Event, times: float = 1.0) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace * times * self._random.uniform(0.5, 1.5)):
                await stop.wait()

    async def _one(self) -> None:
        """Once: if the answer is lost, nobody knows."""
        asked, item = self._some()
        try:
            run = await self._client.enqueue(item)
        except AWAY:
            asked.answer = "unknown"
        else:
            asked.answer, asked.run = "accepted", run.id

    async def _many(self) -> None:
        made = [self._some() for _ in range(self._random.randint(2, 30))]
        try:
            runs = await self._client.enqueue_many([item for _, item in made])
        except AWAY:
            for asked, _ in made:
                asked.answer = "unknown"
        else:
            for (asked, _), run in zip(made, runs, strict=True):
                asked.answer, asked.run = "accepted", run.id

    async def _repeated(self) -> None:
        """With an id, or with an idempotency key, until there is an answer."""
        if self._random.random() < 0.5:
            asked, item = self._some(id=own_id())
            asked.run = item.options.id
        else:
            asked, item = self._some(idempotency=secrets.token_hex(8))
        await self._until_accepted(asked, item)

    async def _committed(self) -> None:
        asked, item = self._some()
        try:
            run = await self._in_transaction(item, commit=True)
        except AWAY:
            asked.answer = "unknown"
        else:
            asked.answer, asked.run = "accepted", run

    async def _rolled_back(self) -> None:
        asked, item = self._some()
        asked.answer = "rolled back"
        with suppress(*AWAY):
            await self._in_transaction(item, commit=False)

    async def _in_transaction(self, item: Item[Any], *, commit: bool) -> UUID:
        connection = await self._connect()
        try:
            transaction = connection.transaction()
            await transaction.start()
            run = await self._client.enqueue(item, connection=connection)
            await (transaction.commit() if commit else transaction.rollback())
            return run.id
        finally:
            connection.terminate()

    async def _until_accepted(self, asked: Asked, item: Item[Any]) -> None:
        while asked.answer != "accepted":
            try:
                run = await self._client.enqueue(item)
            except AWAY:
                await asyncio.sleep(0.2 * self._random.uniform(0.5, 1.5))
            else:
                asked.answer, asked.run = "accepted", run.id

    def _some(self, **options: Any) -> tuple[Asked, Item[Any]]:
        """A run of some kind, perhaps later, perhaps before others."""
        kinds = ["quick"] * 6 + ["slow", "flaky", "snoozing", "threaded", "hopeless"]
        kind = self._random.choice(kinds)
        if self._random.random() < 0.2:
            options["delay"] = f"{self._random.randint(100, 2000)}ms"
        if self._random.random() < 0.1:
            options["priority"] = self._random.randint(-2, 2)
        asked = self._note(kind, ends="failed" if kind == "hopeless" else "completed")
        more = [round(self._random.uniform(0.2, 1.0), 3)] if kind == "slow" else []
        task = self._task(kind)
        return asked, (task.options(**options) if options else task).item(asked.token, *more)

    def _note(self, kind: str, **more: Any) -> Asked:
        self._number += 1
        return self.journal.note(Asked(f"{kind}-{self._number}", kind, **more))

    @staticmethod
    def _task(kind: str) -> openqueue.Task[..., Any]:
        found: openqueue.Task[..., Any] = getattr(tasks, kind)
        return found
