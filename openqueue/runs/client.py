"""The client: everything an application does with runs, over one pool of connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack, cast, overload
from uuid import UUID

from openqueue.control.controls import Controls
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.durations import Duration, parse_duration
from openqueue.errors import OpenQueueError
from openqueue.events import Unsubscribe
from openqueue.lazy import lazy
from openqueue.runs.acting import Acting
from openqueue.runs.answers import found, moved, not_found
from openqueue.runs.attendance import missing_for, why_not_ended
from openqueue.runs.catalogue import Catalogue
from openqueue.runs.filter import RunFilter
from openqueue.runs.history import RunCount, RunPage, count_runs, find_runs, list_runs
from openqueue.runs.homes import Lent
from openqueue.runs.loops import running_loop
from openqueue.runs.model import Attempt, Run, RunEvent, RunInfo
from openqueue.runs.news import Choice, news
from openqueue.runs.parts import no_item
from openqueue.runs.returned import returned
from openqueue.runs.statistics import Statistics
from openqueue.runs.storing import Storing
from openqueue.runs.sync_client import SyncClient
from openqueue.runs.tracing import Tracer
from openqueue.runs.waiting import Waiting
from openqueue.tasks.checks import check_uuid
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.places import waiting_for
from openqueue.tasks.task import Task

if TYPE_CHECKING:
    from openqueue.scheduler.client import Schedules

__all__ = ["Client"]

R = TypeVar("R")

LOOK: Final = 1.0
"""Seconds that may be spent to say why a run has not ended in time."""


class Client:
    """Enqueue runs, wait for them, look at them, act on them. Safe to share by all tasks of an event loop.

    `database` is open, and stays its owner's; `listener`, made when a result is first awaited, is the
    client's own. `largest_input` is in bytes. A worker that has not beaten for `silence` seconds is taken to
    be gone. An idempotency key is remembered for `idempotency_ttl` seconds. `tracer` makes spans. It belongs
    to the event loop and the process that made it.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener | None = None,
        *,
        namespace: str = "default",
        largest_input: int = 1024 * 1024,
        silence: float = 15.0,
        idempotency_ttl: float = 86_400.0,
        tracer: Tracer | None = None,
    ) -> None:
        self.database = database
        self.namespace = namespace
        self.loop = running_loop()
        self.process = os.getpid()
        self._silence = silence
        self._listener = listener
        self._listening: asyncio.Task[None] | None = None
        self._waiting = Waiting(database)
        self._catalogue = Catalogue(database, namespace)
        self._storing = Storing(self, database, namespace, largest_input, idempotency_ttl, tracer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @lazy
    def controls(self) -> Controls:
        """Limits, rates, fairness and pauses: what is said at run time, and what holds."""
        return Controls(self.database, self.namespace)

    @lazy
    def stats(self) -> Statistics:
        """What waits, what ended lately and how long it took, and who works on what."""
        return Statistics(self.database, self.namespace, silence=self._silence)

    @lazy
    def acting(self) -> Acting:
        """Cancel, retry, move … many runs at once, with who and why."""
        return Acting(self.database, self.namespace)

    @lazy
    def sync(self) -> SyncClient:
        """The same calls for other threads, without await."""
        return SyncClient(Lent(self))

    @lazy
    def schedules(self) -> Schedules:
        """Add, edit, pause schedules, and look at them; imported by name, as its room is above."""
        made: Schedules = import_module("openqueue.scheduler.client").Schedules(self)
        return made

    async def close(self) -> None:
        """Stop listening and looking; the database is not closed."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
            self._listening = None
        await self._waiting.close()

    @overload
    async def enqueue(self, what: Item[R], /, *, connection: object | None = None) -> Run[R]: ...
    @overload
    async def enqueue(
        self,
        what: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        connection: object | None = None,
        allow_unknown: bool = False,
        **options: Any,
    ) -> Run[Any]: ...
    async def enqueue(
        self,
        what: Item[Any] | str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        connection: object | None = None,
        allow_unknown: bool = False,
        **options: Any,
    ) -> Run[Any]:
        """Enqueue one run: an item (`task.item(...)`), or a task by name with its arguments by name.

        With `connection` it is part of the caller's transaction: it appears with the commit, or not at
        all. Options are those of `task.options`. A name that no worker has published is refused
        (UnknownTask) unless `allow_unknown`; for one that is known, so are arguments that do not fit what
        its workers have published (InvalidArguments). Raises InvalidOption, NotSerializable, TooLarge.
        Calls at the same time, of a task and without options, share statements.
        """
        if isinstance(what, str):
            what = await self.item(what, payload, allow_unknown=allow_unknown, **options)
        elif not isinstance(what, Item):
            raise no_item("what", what)
        return await self._storing.one(what, connection)

    async def item(
        self,
        task: str,
        payload: Mapping[str, Any] | None = None,
        /,
        *,
        allow_unknown: bool = False,
        **options: Any,
    ) -> Item[Any]:
        """An item for `enqueue_many`, of a task by name; raises as `enqueue`."""
        made = Item.named(task, payload, **options)
        await self._catalogue.check(made, allow_unknown=allow_unknown)
        return made

    async def enqueue_many(
        self, items: Iterable[Item[Any]], *, connection: object | None = None
    ) -> list[Run[Any]]:
        """Enqueue all or none; the runs are in the order of the items. Of equal keys in one batch one wins.

        Items may come from a generator: of many, the next are made while the database stores the ones
        before, all in one transaction, and the event loop is left to others in between.
        """
        return await self._storing.many(items, connection)

    async def result(
        self, run_id: UUID, timeout: Duration | None = None, *, declared: Task[..., Any] | None = None
    ) -> Any:
        """What the run returned, once it has ended; see `Run.result`."""
        run_id = check_uuid(run_id, "run_id")  # awaited together with others: a text is looked for in vain
        seconds = None if timeout is None else parse_duration(timeout, field="timeout").total_seconds()
        await self._listen()
        try:
            with waiting_for(run_id):
                row = await self._waiting.ended(run_id, seconds)
        except TimeoutError:
            why = await self._why_not_ended(run_id)
            if why is not None:
                late = f"Run {run_id} has not ended within {seconds:g} s; it goes on.{why}"
                raise TimeoutError(late) from None
            row = await self._waiting.ended(run_id, 0)
        if row is None:
            raise not_found(run_id)
        return returned(run_id, row, declared)

    async def missing_for(self, run: RunInfo) -> str | None:
        """Why no worker is there for a run that waits, and what to do; None if one may be."""
        return await missing_for(self.database, self.namespace, run, silence=self._silence)

    async def get(self, run_id: UUID) -> RunInfo:
        """Everything known of a run. Raises RunNotFound."""
        row = await self.database.fetchrow("run_info", check_uuid(run_id, "run_id"))
        if row is None:
            raise not_found(run_id)
        return RunInfo.of(row)

    async def list_runs(self, chosen: RunFilter | None = None) -> Sequence[RunInfo]:
        """Runs of this namespace, newest first; see RunFilter. What is rare among many may take its time."""
        return await list_runs(self.database, self.namespace, chosen or RunFilter())

    async def find_runs(self, chosen: RunFilter | None = None) -> RunPage:
        """A page of them, found with a bounded amount of work, and the cursor from which to go on."""
        return await find_runs(self.database, self.namespace, chosen or RunFilter())

    async def count_runs(self, chosen: RunFilter | None = None, *, most: int = 10_000) -> RunCount:
        """How many there are, counted up to `most`, and for some seconds at most."""
        return await count_runs(self.database, self.namespace, chosen or RunFilter(), most=most)

    @overload
    def events(self, run_id: UUID) -> Coroutine[Any, Any, Sequence[RunEvent]]: ...
    @overload
    def events(self, **chosen: Unpack[Choice]) -> AsyncIterator[tuple[RunInfo, RunEvent]]: ...
    def events(self, run_id: UUID | None = None, **chosen: Any) -> Any:
        """A run's timeline, oldest first: ``await client.events(run.id)``. Raises RunNotFound.

        Without a run, what happens from now on, as it happens: ``async for run, event in client.events(
        task="mail.send", kinds=("failed",)):``. Chosen by `task`, `queue`, `schedule`, `meta`, `tags`, and
        `kinds` of events. Of unfinished runs the newest 1,000 are followed; a loss of the database is waited
        out. Raises InvalidOption.
        """
        if run_id is not None:
            return self._timeline(run_id)
        return news(self.database, self.namespace, self._hear, cast("Choice", chosen))

    async def _timeline(self, run_id: UUID) -> Sequence[RunEvent]:
        rows = await self.database.fetch("run_events", check_uuid(run_id, "run_id"))
        if not rows:
            raise not_found(run_id)
        return [RunEvent.of(row) for row in rows]

    async def attempts(self, run_id: UUID) -> Sequence[Attempt]:
        """A run's finished attempts, oldest first."""
        return [
            Attempt.of(row) for row in await self.database.fetch("run_attempts", check_uuid(run_id, "run_id"))
        ]

    async def cancel(self, run_id: UUID, reason: str | None = None) -> str:
        """Cancel a run: 'cancelled' (it waited), 'cancelling' (its worker is told), or 'finished' already.

        To repeat it changes nothing. Raises RunNotFound.
        """
        return found(run_id, await self.database.fetchval("cancel_run", check_uuid(run_id, "run_id"), reason))

    async def retry(self, run_id: UUID) -> str:
        """Run a finished run again (its history stays), or a retrying one now; answers 'ready'.

        Raises UnexpectedState while it runs, RunNotFound.
        """
        return moved(run_id, await self.database.fetchval("retry_run", check_uuid(run_id, "run_id")))

    async def promote(self, run_id: UUID) -> str:
        """Run a scheduled or retrying run now; answers 'ready'.

        Raises UnexpectedState if it runs or has ended, RunNotFound.
        """
        return moved(run_id, await self.database.fetchval("promote_run", check_uuid(run_id, "run_id")))

    async def _why_not_ended(self, run_id: UUID) -> str | None:
        """What the run waits for, as far as it can be known soon; None: it has ended just now."""
        try:
            async with asyncio.timeout(LOOK):
                info = await self.get(run_id)
                return None if info.finished else f" {why_not_ended(info, await self.missing_for(info))}"
        except (OpenQueueError, TimeoutError):
            return ""

    async def _hear(self, callback: Callable[[str], object]) -> Unsubscribe:
        """Have every notification handed to it, as far as any are heard."""
        await self._listen()
        return (lambda: None) if self._listener is None else self._listener.subscribe(callback)

    async def _listen(self) -> None:
        """Begin to hear of ended runs; without a listener they are looked for."""
        if self._listener is not None and self._listening is None:
            self._listener.subscribe(self._waiting.hear)
            self._listener.on_connected(self._waiting.look)
            self._listening = asyncio.create_task(self._listener.run(), name="openqueue:client-listener")
