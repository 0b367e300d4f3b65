"""Four runs, one call, four different ends. The task is in tasks/notices.py."""

import asyncio

from openqueue import RunFailed, connect, enqueue_many
from tasks.notices import Notice, push


async def main() -> None:
    async with connect():
        people = ["Ada", "nobody", "asleep", "Bob"]
        runs = await enqueue_many(push.item(Notice(to, f"Hello, {to}!")) for to in people)
        print("Ada:", await runs[0].result(timeout="30s"))
        try:
            await runs[1].result(timeout="30s")
        except RunFailed as error:
            print("nobody:", error.error["message"])
        print("Bob:", await runs[3].result(timeout="30s"))
        print("asleep:", await runs[2].status())
        for event in await runs[3].events():
            if event.event == "log":
                print("said of each:", event.data["message"], event.data["fields"])


if __name__ == "__main__":
    asyncio.run(main())
