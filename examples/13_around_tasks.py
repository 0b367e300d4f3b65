"""Processes, middleware, a lifespan and a subscriber: all of them are declared in around/tasks.py."""

import asyncio

from around.tasks import primes, sell
from openqueue import RunFailed, Worker


async def main() -> None:
    async with Worker(modules=["around.tasks"], task_processes=2):
        print("apples left:", await (await sell.enqueue("apple")).result(timeout="30s"))

        run = await primes.enqueue(below=1_000_000)
        print("primes:", await run.result(timeout="60s"))
        for event in await run.events():
            if event.event == "log":
                print("the middleware has logged:", event.data["message"])

        try:
            await (await sell.options(max_attempts=1).enqueue("pear")).result(timeout="30s")
        except RunFailed:
            print("there are no pears")


if __name__ == "__main__":
    asyncio.run(main())
