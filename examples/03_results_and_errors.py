"""Results have the type that the task says; errors say what happened, and where."""

import asyncio

from openqueue import InvalidArguments, RunCancelled, RunFailed
from tasks.numbers import divide


async def main() -> None:
    run = await divide.enqueue(7, b=2)
    result = await run.result(timeout="30s")
    print("result:", result.quotient, "remainder", result.remainder)  # a Division, not a dict

    run = await divide.enqueue(1, b=0)
    try:
        await run.result(timeout="30s")
    except RunFailed as failed:
        error = failed.error or {}
        print("failed:", error["type"], "-", error["message"])

    try:
        await divide.enqueue(1, b="two")  # type: ignore[arg-type]  # a type checker sees it too
    except InvalidArguments as refused:
        print("refused:", refused.field)

    run = await divide.options(delay="1h").enqueue(1, b=1)
    try:
        await run.result(timeout="100ms")
    except TimeoutError:
        print("still", await run.status())
    print("cancel:", await run.cancel("changed my mind"))
    try:
        await run.result()
    except RunCancelled:
        print("status:", await run.status())


asyncio.run(main())
