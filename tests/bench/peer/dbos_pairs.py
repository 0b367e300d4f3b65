"""DBOS: a queue of 1,000 partitions, two of each at once; settings as in its plain adapter."""

import asyncio

from adapters import dbos
from adapters.base import chunks

KEYS = 1_000


class Adapter(dbos.Adapter):
    note = "1,000 partitions, partition_concurrency=2, polling each 0.1 s"
    configs = ([None, 0.1],)
    N = {"drain": 5_000}
    said = {"partition_concurrency": 2}

    async def setup(self) -> None:
        def go() -> None:
            app = self.launch()
            app.register_queue("q", **self.said)
            app.destroy()

        await asyncio.to_thread(go)

    async def enqueue_bulk(self, payloads: list[dict[str, int]]) -> None:
        import sqlalchemy as sa

        engine = sa.create_engine(self.dsn.replace("postgresql://", "postgresql+psycopg://"))
        for chunk in chunks(payloads, dbos.BULK):
            with engine.begin() as transaction:
                for payload in chunk:
                    opts = {**self.opts, "queue_partition_key": f"{payload['n'] % KEYS}"}
                    self.client.enqueue_in_transaction(transaction, opts, payload)

    async def work(self, config: list[float], ready: object) -> None:
        await self.open()
        await asyncio.to_thread(
            self.client.register_queue,
            "q",
            polling_interval_sec=config[1],
            on_conflict="always_update",
            application_name="bench",
            **self.said,
        )
        await self.close()
        await asyncio.to_thread(self.launch)
        ready()
        await asyncio.Event().wait()
