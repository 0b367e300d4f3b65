"""100,000 jobs of each of two keys that are full, in front of plain ones."""

import asyncpg
from adapters import load

STUCK = 100_000


class Adapter(type(load("openqueue"))):
    note = "2 x 100,000 jobs of two concurrency keys that are full in front"
    pending = "SELECT count(*) FROM openqueue.jobs WHERE task = 'noop'"

    async def setup(self) -> None:
        await super().setup()
        from openqueue import connect, task

        @task(name="stuck", concurrency_key=lambda key: f"{key}")
        async def stuck(key: int) -> None: ...

        db = await asyncpg.connect(self.dsn)
        for key in ("0", "1"):
            await db.execute("SELECT openqueue.set_control('key', $1, '{\"concurrency\": 0}')", key)
        await db.close()
        async with connect(self.dsn) as client:
            await client.enqueue_many(stuck.item(n % 2) for n in range(2 * STUCK))
