"""Limits, a serial key, a rate, fairness between customers, a pause: all hold for every worker."""

import asyncio
import os

import openqueue
from openqueue import Run
from tasks.calls import ask, book, call, write


async def began(runs: list[Run[str]]) -> list[str]:
    """Whose runs began, in order; by the database's clock."""
    infos = [await run.info() for run in runs]
    return [info.input["customer"] for info in sorted(infos, key=lambda info: info.started_at or info.run_at)]


async def main() -> None:
    async with openqueue.connect(os.environ["OPENQUEUE_DATABASE_URL"]) as oq:
        runs = await oq.enqueue_many(ask.item() for _ in range(10))
        print("at once, at most:", max([await run.result(timeout="30s") for run in runs]))

        steps = [("Ada", "flight"), ("Ada", "hotel"), ("Bob", "train"), ("Ada", "car")]
        booked = await oq.enqueue_many(book.item(customer, step) for customer, step in steps)
        for run in booked:
            print(await run.result(timeout="30s"))

        calls = await oq.enqueue_many(call.item(number) for number in range(11))
        [await run.result(timeout="30s") for run in calls]
        infos = [await run.info() for run in calls]
        took = max(info.started_at for info in infos if info.started_at) - infos[0].created_at
        print("eleven calls at 20/s take half a second:", took.total_seconds() > 0.45)

        await oq.controls.fairness("letters", "round_robin")
        await oq.controls.limit(queue="letters", concurrency=1)
        await oq.controls.pause(queue="letters", until="1h", reason="all of them first")
        many = await oq.enqueue_many(write.options(group="Ada").item("Ada") for _ in range(20))
        few = await oq.enqueue_many(write.options(group="Bob").item("Bob") for _ in range(2))
        print("while it is paused:", await few[0].status())
        await oq.controls.resume(queue="letters")
        [await run.result(timeout="30s") for run in [*many, *few]]
        order = await began([*many, *few])
        print("Bob's two, behind Ada's twenty, are among the first five:", order[:5].count("Bob") == 2)

        for one in await oq.controls.list():
            if one.kind == "queue":
                print(
                    f"{one.name}: {one.concurrency} at once, {one.fairness}, said at {one.concurrency_from}"
                )
        await oq.controls.fairness("letters", None)
        await oq.controls.limit(queue="letters", concurrency=None)


asyncio.run(main())
