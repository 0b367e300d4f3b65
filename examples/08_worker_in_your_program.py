"""Workers in the event loop of a program: they take in work within the block, and finish it at its end."""

import asyncio

from openqueue import Worker
from tasks.hello import greet
from tasks.numbers import divide


async def main() -> None:
    async with (
        Worker(tasks=[greet], concurrency=10, name="greeter"),
        Worker(modules=["tasks.numbers"], queues=["default:1"], name="calculator") as calculator,
    ):
        hello = await greet.enqueue("World")
        half = await divide.enqueue(7, b=2)
        print(await hello.result(timeout="30s"))
        print((await half.result(timeout="30s")).quotient)
        print("takes in work:", calculator.ready)

        last = await greet.enqueue("and good bye")
    print("the block is over")
    print(last.task, "is", "stored, whatever happens to this program")


asyncio.run(main())
