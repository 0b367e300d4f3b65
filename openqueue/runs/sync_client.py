"""The client for code that cannot await. Its work is done by a `Client` in an event loop of another thread.

Except on the caller's own connection: that statement runs here, in the calling thread, as drivers want it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload
from uuid import UUID

from openqueue.db.connections import require_sync
from openqueue.durations import Duration
from openqueue.errors import ConnectionFailed
from openqueue.lazy import lazy
from openqueue.runs.history import RunFilter
from openqueue.runs.loops import Background, background, in_place, submit, wait_for
from openqueue.runs.model import Attempt, Run, RunEvent, RunInfo
from openqueue.runs.sync_controls import SyncControls
from openqueue.runs.sync_statistics import SyncStatistics
from openqueue.tasks.enqueuer import Item

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.scheduler.sync_client import SyncSchedules
    from openqueue.tasks.task import Task

__all__ = ["Lent", "Own", "SyncClient"]

R = TypeVar("R")
T = TypeVar("T")


class Home(Protocol):
    """Where the asynchronous client is."""

    def client(self, owner: SyncClient) -> Client:
        """The client, open, with its loop running in this process. Raises ConnectionFailed."""
        ...

    def close(self) -> None:
        """Close the client, if it is ours."""
        ...


class SyncClient:
    """Enqueue runs, wait for them, look at them, act on them, without await: the calls of `Client`.

    Safe to share by all threads; one that was made before a fork has its own connections after it.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.controls = SyncControls(self)
        self.stats = SyncStatistics(self)
        self.awaited = Awaited(self)

    def __enter__(self) -> Self:
        self.opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @lazy
    def schedules(self) -> SyncSchedules:
        """The calls of `Client.schedules`."""
        made: SyncSchedules = import_module("openqueue.scheduler.sync_client").SyncSchedules(self, self.ask)
        return made

    def close(self) -> None:
        """Close its connections, if they are its own."""
        self._home.close()

    @overload
    def enqueue(self, what: Item[R], /, *, connection: object | None = None) -> Run[R]: ...
    @overload
    def enqueue(
        self,
        what: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        connection: object | None = None,
        allow_unknown: bool = False,
        **options: Any,
    ) -> Run[Any]: ...
    def enqueue(
        self,
        what: Item[Any] | str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        connection: object | None = None,
        allow_unknown: bool = False,
        **options: Any,
    ) -> Run[Any]:
        """Enqueue one run; see `Client.enqueue`. `connection` is one of a synchronous driver."""
        if isinstance(what, str):
            name = what
            what = self.ask(lambda client: client.item(name, payload, allow_unknown=allow_unknown, **options))
        item = what
        if connection is None:
            return self.ask(lambda client: client.enqueue(item))
        (run,) = self.enqueue_many([item], connection=connection)
        return run

    def enqueue_many(self, items: Iterable[Item[Any]], *, connection: object | None = None) -> list[Run[Any]]:
        """Enqueue all or none; see `Client.enqueue_many`."""
        batch = list(items)  # made here: a generator may read from what belongs to this thread
        if connection is None:
            return self.ask(lambda client: client.enqueue_many(batch))
        require_sync(connection)
        return in_place(self.opened().enqueue_many(batch, connection=connection))

    def result(
        self, run_id: UUID, timeout: Duration | None = None, *, declared: Task[..., Any] | None = None
    ) -> Any:
        """What the run returned, once it has ended; see `Run.result`."""
        return self.ask(lambda client: client.result(run_id, timeout, declared=declared))

    def get(self, run_id: UUID) -> RunInfo:
        """Everything known of a run. Raises RunNotFound."""
        return self.ask(lambda client: client.get(run_id))

    def list_runs(self, chosen: RunFilter | None = None) -> Sequence[RunInfo]:
        """Runs of this namespace, newest first; see RunFilter."""
        return self.ask(lambda client: client.list_runs(chosen))

    def events(self, run_id: UUID) -> Sequence[RunEvent]:
        """A run's timeline, oldest first. Raises RunNotFound."""
        return self.ask(lambda client: client.events(run_id))

    def attempts(self, run_id: UUID) -> Sequence[Attempt]:
        """A run's finished attempts, oldest first."""
        return self.ask(lambda client: client.attempts(run_id))

    def cancel(self, run_id: UUID, reason: str | None = None) -> str:
        """Cancel a run; see `Client.cancel`."""
        return self.ask(lambda client: client.cancel(run_id, reason))

    def retry(self, run_id: UUID) -> str:
        """Run a finished run again, or a retrying one now; see `Client.retry`."""
        return self.ask(lambda client: client.retry(run_id))

    def promote(self, run_id: UUID) -> str:
        """Run a scheduled or retrying run now; see `Client.promote`."""
        return self.ask(lambda client: client.promote(run_id))

    def opened(self) -> Client:
        """The asynchronous client that does the work. Raises ConnectionFailed."""
        return self._home.client(self)

    def submit(self, ask: Callable[[Client], Coroutine[Any, Any, T]]) -> Future[T]:
        """Ask the asynchronous client something in its loop, and do not wait for the answer."""
        client = self.opened()
        return submit(_loop(client), ask(client))

    def ask(self, ask: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Ask the asynchronous client something in its loop, and wait for the answer."""
        client = self.opened()
        return wait_for(_loop(client), ask(client))


class Awaited:
    """Takes items of code that can await, where a SyncClient is the one in use."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    async def enqueue(self, what: Any, /, *args: Any, connection: object | None = None, **more: Any) -> Any:
        """Enqueue one run; see `Client.enqueue`."""
        if isinstance(what, str):
            asked = self._client.submit(lambda client: client.item(what, *args, **more))
            what = await asyncio.wrap_future(asked)
        if connection is not None:  # it is used here: it belongs to this loop, or to this thread
            return await self._client.opened().enqueue(what, connection=connection)
        return await asyncio.wrap_future(self._client.submit(lambda client: client.enqueue(what)))

    async def enqueue_many(
        self, items: Iterable[Item[Any]], *, connection: object | None = None
    ) -> list[Run[Any]]:
        """Enqueue all or none; see `Client.enqueue_many`."""
        if connection is not None:
            return await self._client.opened().enqueue_many(items, connection=connection)
        batch = list(items)
        return await asyncio.wrap_future(self._client.submit(lambda client: client.enqueue_many(batch)))


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


def _loop(client: Client) -> asyncio.AbstractEventLoop:
    if client.loop is None:
        raise ConnectionFailed("This client was made outside an event loop, so no other thread can use it.")
    return client.loop
