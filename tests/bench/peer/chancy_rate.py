"""Chancy: a queue of 1,000 a second."""

import importlib

from adapters import chancy


class Adapter(chancy.Adapter):
    note = "rate_limit=1000, rate_limit_window=1, as the plain adapter else"
    configs = (100,)
    N = {"drain": 10_000}

    async def work(self, config: int, ready: object) -> None:
        chancy.HANDLER = self.handler
        lib = importlib.import_module("chancy")
        async with self.app() as app:
            queue = lib.Queue(
                name="default",
                concurrency=config,
                executor=lib.Chancy.Executor.Async,
                polling_interval=1,
                eager_polling=True,
                rate_limit=1_000,
                rate_limit_window=1,
            )
            await app.declare(queue, upsert=True)
            async with lib.Worker(app) as worker:
                ready()
                await worker.wait_for_shutdown()
