"""The history: find runs by what they were and how they ended, count them, run one again, see who did it."""

import asyncio
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import openqueue
from openqueue import RunFailed, RunFilter
from tasks.numbers import divide


async def main() -> None:
    order = str(uuid4())  # all that this program enqueues has it in its meta
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    async with openqueue.connect(os.environ["OPENQUEUE_DATABASE_URL"]) as oq:
        for number in range(6):
            of_order = divide.options(meta={"order": {"id": order, "line": number}})
            run = await oq.enqueue(of_order.item(12, number % 3))
            with suppress(RunFailed):
                await run.result(timeout="30s")

        mine = RunFilter(meta={"order": {"id": order}})  # nested, too
        failed = RunFilter(status=("failed",), meta=mine.meta, finished_since=hour_ago)
        for found in await oq.list_runs(failed):
            print("failed:", found.input, found.error["type"] if found.error else None)
        count = await oq.count_runs(RunFilter(status=("completed",), meta=mine.meta))
        print("completed:", count.count)
        third = RunFilter(error="ZeroDivisionError", meta={"order": {"id": order, "line": 3}})
        (old,) = await oq.list_runs(third)
        print("of line 3:", old.input)

        acted = await oq.acting.act("rerun", third, input={"a": 12, "b": 5}, reason="a typo", actor="ann")
        print("again with another input:", await oq.result(acted.made[0], "30s"))
        (entry,) = await oq.acting.audit(old.id)
        print(f"{entry.actor} did: {entry.action}, because of {entry.reason}")


asyncio.run(main())
