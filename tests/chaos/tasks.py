"""The jobs of the chaos suite. Each writes into the table `effects` what it does, and returns its execution.

Workers find this file in a directory of their own: also those of an older version, which need nothing else.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
import time
from typing import TypedDict
from uuid import UUID, uuid4

import asyncpg

from openqueue import Context, Snooze, task

WAY = "CHAOS_DATABASE"
"""The variable with the address to which effects are written: a way that no attack on the network cuts."""

NOTE = """
    INSERT INTO effects (run, execution, what, pid, worker, claim, attempt, state)
    SELECT w.run, w.execution, w.what, w.pid,
        NULLIF(j.worker, '00000000-0000-0000-0000-000000000000'), j.claim, j.attempt, j.state
    FROM (SELECT $1::uuid AS run, $2::uuid AS execution, $3::text AS what, $4::integer AS pid) w
    LEFT JOIN openqueue.jobs j ON j.id = w.run"""


class Words(TypedDict):
    """Some of the options of a task."""

    max_attempts: int
    backoff: str


OFTEN: Words = {"max_attempts": 10_000, "backoff": "250ms"}
"""For tasks that must complete in the end, whatever becomes of the database under them."""

_pool: asyncpg.Pool[asyncpg.Record] | None = None
_opening = asyncio.Lock()


class Hopeless(Exception):
    """What the tasks raise that are to fail."""


async def note(ctx: Context, execution: UUID, what: str = "begin") -> None:
    """Write down what is done, with the holder of the run's fence."""
    global _pool  # noqa: PLW0603  one for the process
    async with _opening:
        if _pool is None:
            _pool = await asyncpg.create_pool(
                os.environ[WAY], min_size=0, max_size=3, command_timeout=30, timeout=30
            )
    await _pool.execute(NOTE, ctx.run_id, execution, what, os.getpid())


async def _done(ctx: Context, seconds: float = 0.0) -> dict[str, str]:
    execution = uuid4()
    await note(ctx, execution)
    ctx.log.info("begun")
    if seconds:
        await asyncio.sleep(seconds)
    await note(ctx, execution, "end")
    return {"execution": str(execution)}


@task(name="chaos.quick", **OFTEN)
async def quick(token: str, *, ctx: Context = Context.injected) -> dict[str, str]:
    return await _done(ctx)


@task(name="chaos.slow", **OFTEN)
async def slow(token: str, seconds: float, *, ctx: Context = Context.injected) -> dict[str, str]:
    """Something that is under way when harm is done."""
    return await _done(ctx, seconds)


@task(name="chaos.serial", concurrency_key=lambda key: key, **OFTEN)
async def serial(token: str, key: str, *, ctx: Context = Context.injected) -> dict[str, str]:
    """One at a time of a key, in order."""
    return await _done(ctx, 0.02)


@task(name="chaos.flaky", **OFTEN)
async def flaky(token: str, *, ctx: Context = Context.injected) -> dict[str, str]:
    """Fail the first time."""
    if ctx.attempt == 1:
        raise Hopeless("the first time")
    return await _done(ctx)


@task(name="chaos.hopeless", max_attempts=3, backoff="100ms")
async def hopeless(token: str) -> None:
    """Fail every time."""
    raise Hopeless("every time")


@task(name="chaos.snoozing", **OFTEN)
async def snoozing(token: str, *, ctx: Context = Context.injected) -> dict[str, str]:
    """Ask for another time at random, which costs no attempt."""
    if os.urandom(1)[0] < 128:
        raise Snooze("200ms")
    return await _done(ctx)


@task(name="chaos.threaded", **OFTEN)
def threaded(token: str, *, ctx: Context = Context.injected) -> dict[str, str]:
    """In a thread."""
    return asyncio.run(_alone(ctx))


async def _alone(ctx: Context) -> dict[str, str]:
    """As `_done`, over a connection of its own."""
    execution = uuid4()
    connection = await asyncpg.connect(os.environ[WAY], timeout=30, command_timeout=30)
    try:
        await connection.execute(NOTE, ctx.run_id, execution, "begin", os.getpid())
        await connection.execute(NOTE, ctx.run_id, execution, "end", os.getpid())
    finally:
        await connection.close(timeout=30)
    return {"execution": str(execution)}


@task(name="chaos.tick", **OFTEN)
async def tick(*, ctx: Context = Context.injected) -> dict[str, str]:
    """Every second, by a schedule."""
    return await _done(ctx)


# What does harm by itself.


@task(name="chaos.killer", max_attempts=3)
async def killer(token: str, *, ctx: Context = Context.injected) -> None:
    """Kill the process."""
    await note(ctx, uuid4())
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # noqa: ASYNC251


@task(name="chaos.leaver", max_attempts=3)
async def leaver(token: str, *, ctx: Context = Context.injected) -> None:
    """End the process without a word."""
    await note(ctx, uuid4())
    os._exit(7)


@task(name="chaos.blocker", **OFTEN)
async def blocker(token: str, seconds: float, *, ctx: Context = Context.injected) -> dict[str, str]:
    """Keep the event loop from turning."""
    execution = uuid4()
    await note(ctx, execution)
    time.sleep(seconds)  # noqa: ASYNC251
    await note(ctx, execution, "end")
    return {"execution": str(execution)}


@task(name="chaos.deaf", max_attempts=1, timeout="1s")
def deaf(token: str) -> None:
    """A thread that does not end when its time is over."""
    threading.Event().wait(600)


@task(name="chaos.glutton", max_attempts=2, backoff="100ms")
async def glutton(token: str) -> None:
    """Take memory until there is none, in a process that may have 256 MiB more than it has."""
    pages = int((await asyncio.to_thread(_statm)).split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28, hard))
    try:
        eaten = []
        while True:
            eaten.append(bytearray(2**20))
            await asyncio.sleep(0)  # so that everything else meets it, too
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _statm() -> str:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return file.read()
