"""The ways to leave a task besides returning: raise and be retried, snooze, or give up."""

import asyncio
from datetime import UTC, datetime, timedelta

from openqueue import Run, RunFailed
from tasks.errands import deliver, fetch, wait_for


async def show(run: Run[str]) -> None:
    print(await run.result(timeout="30s"))
    for event in await run.events():
        error = event.data.get("error")
        print("   ", event.event, event.attempt or "", error["message"] if error else "")


async def main() -> None:
    await show(await fetch.enqueue("https://example.org"))
    await show(await wait_for.enqueue(datetime.now(UTC) + timedelta(seconds=2)))

    run = await deliver.enqueue("1 Nowhere Lane")
    try:
        await run.result(timeout="30s")
    except RunFailed as failed:
        info = await run.info()
        print(f"failed after {info.attempt} attempt of {info.max_attempts}:", (failed.error or {})["message"])


asyncio.run(main())
