"""What a task says while it runs is kept with the run: progress, and a log."""

import asyncio

from tasks.reading import most_common

TEXT = """\
the queue is a table
and the table is in the database

so the backup has the queue
"""


async def main() -> None:
    run = await most_common.options(meta={"tenant": 42}, tags=["text"]).enqueue(TEXT)
    print("the most common word:", await run.result(timeout="30s"))

    info = await run.info()
    print("progress:", info.progress)
    print("meta:", info.meta, "tags:", info.tags)
    for event in await run.events():
        if event.event == "log":
            print("log:", event.data)


asyncio.run(main())
