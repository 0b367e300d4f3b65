"""The client for code that cannot await. Its work is done by a `Client` in an event loop of another thread.

Except on the caller's own connection: that statement runs here, in the calling thread, as drivers want it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload
from uuid import UUID

from openqueue.db.connections import require_sync
from openqueue.durations import Duration
from openqueue.errors import ConnectionFailed
from openqueue.lazy import lazy
from openqueue.runs.acting import Acted, Action, AuditEntry
from openqueue.runs.filter import RunFilter
from openqueue.runs.history import RunCount, RunPage
from openqueue.runs.loops import in_place, submit, wait_for
from openqueue.runs.model import Attempt, Run, RunEvent, RunInfo
from openqueue.runs.sync_controls import SyncControls
from openqueue.runs.sync_statistics import SyncStatistics
from openqueue.tasks.enqueuer import Item

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.scheduler.sync_client import SyncSchedules
    from openqueue.tasks.task import Task

__all__ = ["SyncClient"]

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
        require_sync(connection)
        return in_place(self.opened().enqueue(item, connection=connection))

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

    def find_runs(self, chosen: RunFilter | None = None) -> RunPage:
        """A page of runs; see `Client.find_runs`."""
        return self.ask(lambda client: client.find_runs(chosen))

    def count_runs(self, chosen: RunFilter | None = None, *, most: int = 10_000) -> RunCount:
        """How many runs there are; see `Client.count_runs`."""
        return self.ask(lambda client: client.count_runs(chosen, most=most))

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

    def act(self, action: Action, what: RunFilter | Iterable[UUID], **how: Any) -> Acted:
        """Act on runs, one or all that a filter chooses; see `Acting.act` (`client.acting`)."""
        return self.ask(lambda client: client.acting.act(action, what, **how))

    def audit(
        self, run: UUID | None = None, *, before: int | None = None, limit: int = 50
    ) -> Sequence[AuditEntry]:
        """What was done by hand; see `Acting.audit`."""
        return self.ask(lambda client: client.acting.audit(run, before=before, limit=limit))

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


def _loop(client: Client) -> asyncio.AbstractEventLoop:
    if client.loop is None:
        raise ConnectionFailed("This client was made outside an event loop, so no other thread can use it.")
    return client.loop
