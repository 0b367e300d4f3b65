"""A worker process of the drivers: that of `openqueue bench`, with more tasks."""

from __future__ import annotations

import sys

from openqueue import Context, task
from openqueue.bench.tasks import QUEUE, TALLY, TASKS
from openqueue.bench.worker import work
from openqueue.cli.session import run_async

LINE = "x" * 200


@task(name="bench.take", queue=QUEUE)
async def take(payload: str) -> int:
    """Read its input."""
    TALLY.begin()
    return len(payload)


@task(name="bench.talk", queue=QUEUE)
async def talk(lines: int, *, ctx: Context = Context.injected) -> None:
    """Log a lot."""
    TALLY.begin()
    for number in range(lines):
        ctx.log.info(LINE, number=number)


@task(name="bench.keyed", queue=QUEUE, concurrency_key=lambda key: f"{key}", key_concurrency=2)
async def keyed(key: int) -> None:
    """Do nothing, beside one other of its key at most."""
    TALLY.begin()


@task(name="bench.serial", queue=QUEUE, concurrency_key=lambda key: f"{key}")
async def serial(key: int) -> None:
    """Do nothing, alone of its key."""
    TALLY.begin()


if __name__ == "__main__":
    sys.exit(run_async(work((*TASKS, take, talk, keyed, serial))))
