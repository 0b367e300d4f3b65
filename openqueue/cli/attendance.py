"""What a command says when nobody is there for a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from openqueue.cli.output import say
from openqueue.errors import OpenQueueError

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.model import Run

__all__ = ["tell_who_is_missing", "telling_who_is_missing"]

LOOK_EVERY: Final = 5.0
"""Seconds between looks for workers."""

PATIENCE: Final = 2.0
"""Seconds that a look may take where nobody waits for the run: it is there, whatever the look finds."""


async def tell_who_is_missing(client: Client, run: Run[Any]) -> None:
    """Say it, once and as a warning, if nobody is there for a run just enqueued."""
    import asyncio

    with suppress(OpenQueueError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            missing = await client.missing_for(await run.info())
        if missing:
            say(f"Warning: {missing}")


@asynccontextmanager
async def telling_who_is_missing(client: Client, run: Run[Any]) -> AsyncIterator[None]:
    """Within the block, say it when nobody is there for a run that waits, once each time that comes about."""
    import asyncio

    told: str | None = None

    async def look() -> None:
        nonlocal told
        missing = await client.missing_for(await run.info())
        if missing and missing != told:
            say(missing)
        told = missing

    async def keep_looking() -> None:
        while True:
            with suppress(OpenQueueError):  # whoever waits for the result hears of it
                await look()
            await asyncio.sleep(LOOK_EVERY)

    looking = asyncio.create_task(keep_looking())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
