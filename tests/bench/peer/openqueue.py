"""openqueue as a peer of the side-by-side benchmark: one configuration, the defaults that users get.

Alone in its folder, so that it never shadows the package. Loaded by the benchmark when
BENCH_ADAPTER_DIR names that folder (`make bench`).
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from adapters.base import FAST, Base


class Adapter(Base):
    package = "openqueue"
    note = "the defaults: history, validation, Context, fence, catalogue, events; enqueue_many in one call"
    configs = ("defaults",)
    N = FAST
    pending = "SELECT count(*) FROM openqueue.jobs"
    done = "SELECT count(*) FROM openqueue.attempts WHERE final AND outcome = 'completed'"

    def task(self) -> Any:
        from openqueue import task

        @task(name="noop")
        async def noop(payload: dict[str, Any]) -> None:
            await self.handler(payload)

        return noop

    async def setup(self) -> None:
        from openqueue.db.migrations import migrate

        await migrate(self.dsn)

    async def open(self, concurrency: int = 1) -> None:
        from openqueue import connect

        self.noop = self.task()
        self.stack = AsyncExitStack()
        self.client = await self.stack.enter_async_context(connect(self.dsn))

    async def close(self) -> None:
        await self.stack.aclose()

    async def enqueue_bulk(self, payloads: list[dict[str, Any]]) -> None:
        await self.client.enqueue_many(self.noop.item(payload) for payload in payloads)

    async def enqueue_one(self, payload: dict[str, Any]) -> None:
        await self.noop.enqueue(payload)

    async def work(self, config: Any, ready: Any) -> None:
        from openqueue.app import open_worker
        from openqueue.garbage import collect_seldom
        from openqueue.settings import load_settings
        from openqueue.tasks.registry import Registry

        collect_seldom()  # as `openqueue worker` does
        async with open_worker(
            load_settings(database_url=self.dsn), registry=Registry([self.task()])
        ) as worker:
            ready()
            await worker.run(asyncio.Event())
