"""O5: an enqueue among many idle workers makes each of them look once or twice, and is no storm."""

from __future__ import annotations

from contextlib import AsyncExitStack

import openqueue
from openqueue import task
from openqueue.worker.events import BellChanged, JobsClaimed
from tests.support.worker_here import working

CROWD = 10
ENQUEUES = 5
LOOKS = 6
"""Of each worker for each enqueue, at most, with those that it makes when it begins; it is one or two."""


@task
async def nothing() -> None: ...


async def test_an_enqueue_makes_each_idle_worker_look_and_no_more(dsn: str) -> None:
    async with AsyncExitStack() as crowd:
        workers = [
            await crowd.enter_async_context(
                working(dsn, nothing, name=f"w-{number}", pool_size=1, poll_interval="1h")
            )
            for number in range(CROWD)
        ]
        for one in workers:
            await one.wait_for(BellChanged)
            await one.wait_for(JobsClaimed)
        client = await crowd.enter_async_context(openqueue.connect(dsn))
        begun = looks = sum(len(one.heard(JobsClaimed)) for one in workers)
        for _ in range(ENQUEUES):
            before = [len(one.heard(JobsClaimed)) for one in workers]
            await (await client.enqueue(nothing.item())).result()
            for one, count in zip(workers, before, strict=True):
                await one.wait_for(JobsClaimed, count=count + 1)
            looks = sum(len(one.heard(JobsClaimed)) for one in workers)
        print(f"{CROWD} workers, {ENQUEUES} enqueues: {looks - begun} looks")
        assert looks - begun <= CROWD * ENQUEUES * LOOKS
        assert sum(claim.jobs for one in workers for claim in one.heard(JobsClaimed)) == ENQUEUES
