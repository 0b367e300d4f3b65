"""Where the client behind a `SyncClient` lives: in somebody else's loop, or in the process's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from openqueue.errors import ConnectionFailed
from openqueue.runs.loops import Background, background, wait_for

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.sync_client import SyncClient

__all__ = ["Lent", "Own"]


class Lent:
    """A client that somebody else opened and closes, in a loop of their own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def client(self, owner: SyncClient) -> Client:
        if self._client.process != os.getpid():
            raise ConnectionFailed(
                "This client was opened before the process forked, in the parent. Open one in the child."
            )
        return self._client

    def close(self) -> None:
        """Nothing: it is not ours."""


class Own:
    """A client in the process's background loop, opened when first needed, and again after a fork."""

    def __init__(self, open_one: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        self._open_one = open_one
        self._held: Held | None = None
        self._inherited: list[Held] = []
        self._closed = False

    def client(self, owner: SyncClient) -> Client:
        where, held = background(), self._held
        if held is None or held.where is not where:
            with where.opening:
                held = self._held
                if held is None or held.where is not where:
                    held = self._held = self._opened(where, owner)
        return held.client

    def close(self) -> None:
        """Close what this process has opened; what it inherited is its parent's."""
        self._closed = True
        held, self._held = self._held, None
        if held is not None and held.where is background():
            wait_for(held.where.loop, held.close())

    def _opened(self, where: Background, owner: SyncClient) -> Held:
        if self._closed:
            raise ConnectionFailed("The client is closed. Use it within its `with` block, or open another.")
        if self._held is not None:  # the parent's, from before a fork: kept as it is, and never used
            self._inherited.append(self._held)
        held = wait_for(where.loop, Held.open(where, self._open_one))
        held.client.sync = owner
        return held


class Held:
    """An open client, and the task that holds it open: it is closed where it was opened."""

    def __init__(
        self, where: Background, client: Client, end: asyncio.Event, keeper: asyncio.Task[None]
    ) -> None:
        self.where = where
        self.client = client
        self._end = end
        self._keeper = keeper

    @classmethod
    async def open(
        cls, where: Background, open_one: Callable[[], AbstractAsyncContextManager[Client]]
    ) -> Held:
        """Open one; runs in the loop that it will belong to."""
        opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        end = asyncio.Event()

        async def keep() -> None:
            async with open_one() as client:
                opened.set_result(client)
                await end.wait()

        keeper = asyncio.create_task(keep(), name="openqueue:sync-client")
        either: list[asyncio.Future[Any]] = [opened, keeper]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            keeper.cancel()
            raise
        if not opened.done():
            await keeper  # raises why
        return cls(where, opened.result(), end, keeper)

    async def close(self) -> None:
        """Let go, and wait until it is closed."""
        self._end.set()
        await asyncio.wait([self._keeper])
