"""What tasks log by Python's logging is kept with their runs: which lines, with what, and what is not."""

import asyncio
from contextlib import suppress
from typing import Any

from openqueue import Run, RunFailed
from tasks.billing import bill, remind


async def show(run: Run[Any]) -> None:
    with suppress(RunFailed):
        await run.result(timeout="30s")
    for event in await run.events():
        if event.event == "log":
            fields = dict(event.data.get("fields", {}))
            trace = fields.pop("exception", "").strip().splitlines()
            print(f"  {event.data['level']}: {event.data['message']}", fields, *trace[-1:])


async def main() -> None:
    print("a run, with the logger's name and what `extra=` gave:")
    await show(await bill.enqueue("Ada", 250_000))

    print("one that failed; its traceback is kept, the token is not:")
    await show(await bill.enqueue("nobody", 100))

    print("a task that keeps warnings only:")
    await show(await remind.enqueue("Bob"))


asyncio.run(main())
