"""What goes around tasks: declared in a module that the worker imports, and used by all of its tasks."""

import time
from collections.abc import AsyncIterator
from typing import Any

from openqueue import AttemptFailed, CallNext, Context, middleware, subscribe, task, worker_lifespan


@worker_lifespan
async def stock() -> AsyncIterator[dict[str, Any]]:
    """A pool of connections would be opened here, and closed behind the yield."""
    yield {"stock": {"apple": 3}}


@middleware
async def timed(ctx: Context, call_next: CallNext) -> Any:
    """Note how long each attempt takes with its run."""
    began = time.monotonic()
    try:
        return await call_next()
    finally:
        ctx.log.info("took", seconds=round(time.monotonic() - began, 3))


@task
async def sell(what: str, *, ctx: Context = Context.injected) -> int:
    """Sell one of what there is; answers how many are left."""
    ctx.state.stock[what] -= 1
    left: int = ctx.state.stock[what]
    return left


@task(executor="process", timeout="60s")
def primes(below: int) -> int:
    """Count primes, in a process: the worker has its own processor, and a timeout really ends it."""
    sieve = bytearray([1]) * below
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
    return sum(sieve[2:])


def tell(event: AttemptFailed) -> None:
    print(f"{event.task} failed: {event.reason['message']}")


subscribe(AttemptFailed, tell)
