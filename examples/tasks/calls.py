"""Tasks that are limited, in all processes, however many workers there are."""

import asyncio

from openqueue import task

running = 0


@task(queue="calls", concurrency=2)
async def ask() -> int:
    """Two at once: answers how many were running."""
    global running  # noqa: PLW0603  it is one process here
    running += 1
    await asyncio.sleep(0.02)
    seen, running = running, running - 1
    return seen


@task(queue="calls", concurrency_key=lambda customer, step: customer)  # noqa: ARG005  named as the arguments are
async def book(customer: str, step: str) -> str:
    """One at a time for each customer, and in order."""
    return f"{customer}: {step}"


@task(queue="calls", rate="20/s")
async def call(number: int) -> int:
    """Twenty a second."""
    return number


@task(queue="letters")
async def write(customer: str) -> str:
    return f"Dear {customer}"
