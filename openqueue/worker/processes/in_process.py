"""One attempt in a process: it waits for one, hands the attempt over, and sees to it that it ends in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from openqueue.codec import decode
from openqueue.tasks.middleware import CallNext
from openqueue.tasks.task import Task
from openqueue.worker.job import PATIENCE, Job
from openqueue.worker.processes.frames import Kind
from openqueue.worker.processes.orders import Order
from openqueue.worker.processes.pool import Processes
from openqueue.worker.storing.journal import RunJournal

__all__ = ["Written", "read", "run_in_process"]


@dataclass(frozen=True, slots=True)
class Written:
    """A result that is JSON already."""

    text: str


async def read(call: CallNext) -> Any:
    """The result of a process as middleware sees it: as JSON knows it."""
    return decode((await call()).text)


async def run_in_process(
    processes: Processes,
    task: Task[..., Any],
    order: Order,
    job: Job,
    limit: asyncio.Timeout,
    journal: RunJournal,
) -> Written:
    """One attempt; raises what the task raises. Once this was cancelled, the process has ended.

    A run that is cancelled, or whose worker stops, may end by itself first. The time that a process takes to
    start and to import the task is not the attempt's: `limit` stands still.
    """
    with _paused(limit):
        process = await processes.take(task)
    try:
        return Written(await process.run(order, partial(_said, journal, job)))
    except asyncio.CancelledError:
        job.cancellation().set()
        if job.asked is not None and await process.ends_soon(PATIENCE):
            return Written(process.result())
        await process.kill()
        raise
    finally:
        processes.put_back(process)


def _said(journal: RunJournal, job: Job, kind: int, what: Any) -> None:
    if kind == Kind.LOG:
        journal.log(job, *what)
    else:
        journal.progress(job, what)


@contextmanager
def _paused(limit: asyncio.Timeout) -> Iterator[None]:
    """Within the block the time of an attempt stands still: it has not begun."""
    due = limit.when()
    if due is None:
        yield
        return
    clock = asyncio.get_running_loop().time
    left = due - clock()
    limit.reschedule(None)
    yield
    limit.reschedule(clock() + left)
