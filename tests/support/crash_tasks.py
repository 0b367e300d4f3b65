"""Tasks that the crash and stop scenarios run in worker processes; each tells on stdout what it does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from openqueue import Context, task


def mark(what: str, ctx: Context, **more: Any) -> None:
    line = {"event": "mark", "what": what, "run": str(ctx.run_id), "attempt": ctx.attempt, "pid": os.getpid()}
    sys.stdout.write(json.dumps({**line, **more}) + "\n")
    sys.stdout.flush()


@task(name="crash.sleep", backoff="100ms")
async def sleep(seconds: float, *, ctx: Context = Context.injected) -> str:
    mark("begin", ctx)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        mark("cancelled", ctx)
        raise
    mark("end", ctx)
    return f"slept {seconds:g}"


@task(name="crash.until", backoff="100ms")
async def until(path: str, *, ctx: Context = Context.injected) -> str:
    """Run until the file is there."""
    mark("begin", ctx)
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
    mark("end", ctx)
    return "done"


@task(name="crash.count", backoff="100ms")
async def count(seconds: float, *, ctx: Context = Context.injected) -> int:
    """Say progress and log all the time."""
    mark("begin", ctx)
    number = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        number += 1
        ctx.progress({"number": number})
        ctx.log.info("counting", number=number)
        await asyncio.sleep(0.02)
    mark("end", ctx)
    return number


@task(name="crash.block", backoff="100ms")
async def block(seconds: float, *, ctx: Context = Context.injected) -> str:
    """Block the event loop."""
    mark("begin", ctx)
    time.sleep(seconds)  # noqa: ASYNC251
    mark("end", ctx)
    return "unblocked"


@task(name="crash.kill", backoff="100ms")
async def kill(*, ctx: Context = Context.injected) -> None:
    """Kill the worker."""
    mark("begin", ctx)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # noqa: ASYNC251


@task(name="crash.stubborn", backoff="100ms")
async def stubborn(*, ctx: Context = Context.injected) -> None:
    """Swallow every cancellation."""
    mark("begin", ctx)
    while True:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            mark("swallowed", ctx)


@task(name="crash.deaf_thread", backoff="100ms")
def deaf_thread(seconds: float, *, ctx: Context = Context.injected) -> str:
    """Sleep in a thread, deaf to all requests."""
    mark("begin", ctx)
    time.sleep(seconds)
    mark("end", ctx)
    return "slept"


@task(name="crash.polite_thread", backoff="100ms")
def polite_thread(*, ctx: Context = Context.injected) -> str:
    """Wait in a thread until told to stop."""
    mark("begin", ctx)
    told = ctx.cancelled.wait_in_thread("60s")
    mark("told", ctx, told=told)
    return "told"


@task(name="crash.quick", backoff="100ms")
async def quick(number: int, *, ctx: Context = Context.injected) -> int:
    mark("ran", ctx, number=number)
    await asyncio.sleep(0.002)
    return number


@task(name="crash.quick_thread", backoff="100ms")
def quick_thread(number: int, *, ctx: Context = Context.injected) -> int:
    mark("ran", ctx, number=number)
    time.sleep(0.002)
    return number


@task(name="crash.large", backoff="100ms")
async def large(seconds: float, size: int, *, ctx: Context = Context.injected) -> str:
    """A result worth keeping."""
    mark("begin", ctx)
    await asyncio.sleep(seconds)
    mark("end", ctx)
    return "x" * size


@task(name="crash.relay", backoff="100ms")
def relay(depth: int, *, ctx: Context = Context.injected) -> int:
    """In a thread, enqueue an async task, which enqueues this one again."""
    mark("relay", ctx, depth=depth)
    if depth:
        time.sleep(0.05)
        ctx.enqueue_sync(relay_async, depth - 1)
    return depth


@task(name="crash.relay_async", backoff="100ms")
async def relay_async(depth: int, *, ctx: Context = Context.injected) -> int:
    mark("relay_async", ctx, depth=depth)
    await asyncio.sleep(0.05)
    await ctx.enqueue(relay, depth)
    return depth


@task(name="crash.fail_once", backoff=0)
async def fail_once(*, ctx: Context = Context.injected) -> int:
    """Fail the first time; it is to be tried again at once."""
    if ctx.attempt == 1:
        raise RuntimeError("the first time")
    return ctx.attempt
