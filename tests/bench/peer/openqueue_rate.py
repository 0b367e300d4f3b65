"""1,000 a second."""

import asyncpg
from adapters import load


class Adapter(type(load("openqueue"))):
    note = "the queue at 1,000 a second"
    N = {"drain": 10_000}

    async def setup(self) -> None:
        await super().setup()
        db = await asyncpg.connect(self.dsn)
        await db.execute(
            """SELECT openqueue.set_control('queue', 'default', '{"rate": 1000, "period": "1 s"}')"""
        )
        await db.close()
