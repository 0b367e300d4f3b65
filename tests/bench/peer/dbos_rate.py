"""DBOS: a queue of 1,000 a second."""

import asyncio

from adapters import dbos


class Adapter(dbos.Adapter):
    note = "limiter={'limit': 1000, 'period': 1}, polling each 0.1 s"
    configs = ([None, 0.1],)
    N = {"drain": 10_000}
    limit = {"limit": 1_000, "period": 1.0}

    async def work(self, config: list[float], ready: object) -> None:
        await self.open()
        await asyncio.to_thread(
            self.client.register_queue,
            "q",
            limiter=self.limit,
            polling_interval_sec=config[1],
            on_conflict="always_update",
            application_name="bench",
        )
        await self.close()
        await asyncio.to_thread(self.launch)
        ready()
        await asyncio.Event().wait()
