"""The client: everything an application does with runs, over one pool of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from uuid import UUID

from openqueue.codec import decode
from openqueue.db.connections import Executor, adapt
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.durations import Duration, parse_duration
from openqueue.errors import (
    RunCancelled,
    RunExpired,
    RunFailed,
    RunNotFound,
    UnexpectedState,
)
from openqueue.runs.catalogue import Catalogue
from openqueue.runs.enqueueing import Batch
from openqueue.runs.history import RunFilter, list_runs
from openqueue.runs.model import Attempt, Row, Run, RunEvent, RunInfo
from openqueue.runs.parts import chained, parts
from openqueue.runs.waiting import Waiting
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.task import Task

__all__ = ["Client"]

R = TypeVar("R")

AT_ONCE, MOST_AT_ONCE = 2_000, 20_000
"""Jobs in one statement; more go in several, in one transaction: on our own connection in small ones."""


class Client:
    """Enqueue runs, wait for them, look at them, act on them. Safe to share by all tasks of an event loop.

    `database` is open, and stays its owner's; `listener`, made when a result is first awaited, is the
    client's own. `largest_input` is in bytes.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener | None = None,
        *,
        namespace: str = "default",
        largest_input: int = 1024 * 1024,
    ) -> None:
        self.database = database
        self.namespace = namespace
        self._own: Any = database
        self._largest = largest_input
        self._listener = listener
        self._listening: asyncio.Task[None] | None = None
        self._waiting = Waiting()
        self._catalogue = Catalogue(database, namespace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening; the database is not closed."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
            self._listening = None

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
        """
        if isinstance(what, str):
            what = Item.named(what, payload, **options)
            await self._catalogue.check(what, allow_unknown=allow_unknown)
        (run,) = await self.enqueue_many([what], connection=connection)
        return run

    async def enqueue_many(
        self, items: Iterable[Item[Any]], *, connection: object | None = None
    ) -> list[Run[Any]]:
        """Enqueue all or none; the runs are in the order of the items. Of equal keys in one batch one wins.

        Items may come from a generator: of many, the next are made while the database stores the ones
        before, all in one transaction, and the event loop is left to others in between.
        """
        if connection is not None:
            executor = adapt(connection)
            # All are sound before the first is sent: what else is in the caller's transaction may go on.
            batches = [self._batch(part) async for part in parts(items, MOST_AT_ONCE)]
            return [run for batch in batches for run in await self._store(executor, batch)]
        coming = parts(items, AT_ONCE)
        first, second = await anext(coming, None), await anext(coming, None)
        if first is None:
            return []
        if second is None:
            return await self._store(self._own, self._batch(first))
        async with self.database.transaction() as own:
            return await self._store_all(adapt(own), [first, second], coming)

    async def result(
        self, run_id: UUID, timeout: Duration | None = None, *, declared: Task[..., Any] | None = None
    ) -> Any:
        """What the run returned, once it has ended; see `Run.result`."""
        seconds = None if timeout is None else parse_duration(timeout, field="timeout").total_seconds()
        await self._listen()
        try:
            async with asyncio.timeout(seconds):
                await self._waiting.until_ended(run_id, lambda: self.database.fetchval("await_run", run_id))
        except TimeoutError:
            raise TimeoutError(f"run {run_id} has not ended within {seconds:g} s; it goes on") from None
        row = await self.database.fetchrow("run_result", run_id)
        if row is None:
            raise _not_found(run_id)
        return _returned(run_id, row, declared)

    async def get(self, run_id: UUID) -> RunInfo:
        """Everything known of a run. Raises RunNotFound."""
        row = await self.database.fetchrow("run_info", run_id)
        if row is None:
            raise _not_found(run_id)
        return RunInfo.of(row)

    async def list_runs(self, chosen: RunFilter | None = None) -> Sequence[RunInfo]:
        """Runs of this namespace, newest first; see RunFilter."""
        return await list_runs(self.database, self.namespace, chosen or RunFilter())

    async def events(self, run_id: UUID) -> Sequence[RunEvent]:
        """A run's timeline, oldest first. Raises RunNotFound."""
        rows = await self.database.fetch("run_events", run_id)
        if not rows:
            raise _not_found(run_id)
        return [RunEvent.of(row) for row in rows]

    async def attempts(self, run_id: UUID) -> Sequence[Attempt]:
        """A run's finished attempts, oldest first."""
        return [Attempt.of(row) for row in await self.database.fetch("run_attempts", run_id)]

    async def cancel(self, run_id: UUID, reason: str | None = None) -> str:
        """Cancel a run: 'cancelled' (it waited), 'cancelling' (its worker is told), or 'finished' already.

        To repeat it changes nothing. Raises RunNotFound.
        """
        return self._found(run_id, await self.database.fetchval("cancel_run", run_id, reason))

    async def retry(self, run_id: UUID) -> str:
        """Run a finished run again (its history stays), or a retrying one now; answers 'ready'.

        Raises UnexpectedState while it runs, RunNotFound.
        """
        return self._moved(run_id, await self.database.fetchval("retry_run", run_id))

    async def promote(self, run_id: UUID) -> str:
        """Run a scheduled or retrying run now; answers 'ready'.

        Raises UnexpectedState if it runs or has ended, RunNotFound.
        """
        return self._moved(run_id, await self.database.fetchval("promote_run", run_id))

    async def _store_all(
        self, executor: Executor, made: Sequence[Sequence[Item[Any]]], coming: AsyncIterator[list[Item[Any]]]
    ) -> list[Run[Any]]:
        """Store part after part; while the database has one, the next is made."""
        runs: list[Run[Any]] = []
        storing: asyncio.Task[list[Run[Any]]] | None = None
        try:
            async for part in chained(made, coming):
                batch = self._batch(part)
                if storing is not None:
                    runs += await storing
                storing = asyncio.create_task(self._store(executor, batch))
            return runs if storing is None else runs + await storing
        finally:
            if storing is not None and not storing.done():
                storing.cancel()
                await asyncio.wait([storing])

    def _batch(self, items: Sequence[Item[Any]]) -> Batch:
        return Batch.of(items, self.namespace, self._largest)

    async def _store(self, executor: Executor, batch: Batch) -> list[Run[Any]]:
        rows = await executor.fetch(self.database.text(batch.statement), *batch.arguments)
        return batch.runs(self, rows)

    async def _listen(self) -> None:
        """Begin to hear of ended runs; without a listener they are looked for."""
        if self._listener is not None and self._listening is None:
            self._listener.subscribe(self._waiting.hear)
            self._listener.on_connected(self._waiting.look)
            self._listening = asyncio.create_task(self._listener.run(), name="openqueue:client-listener")

    def _found(self, run_id: UUID, answer: str) -> str:
        if answer == "unknown":
            raise _not_found(run_id)
        return answer

    def _moved(self, run_id: UUID, answer: str) -> str:
        if answer in ("running", "finished"):
            remedy = "wait for its end, or cancel it" if answer == "running" else "retry it instead"
            raise UnexpectedState(f"run {run_id} is {answer}: {remedy}.", run_id=run_id, status=answer)
        return self._found(run_id, answer)


def _not_found(run_id: UUID) -> RunNotFound:
    return RunNotFound(f"There is no run {run_id}; it may have been pruned.", run_id=run_id)


def _returned(run_id: UUID, row: Row, declared: Task[..., Any] | None) -> Any:
    """The result of an ended run, or the error that says how it ended."""
    status = row["status"]
    if status == "completed":
        output = row["output"] or "null"
        return decode(output) if declared is None else declared.arguments.parse_output(output)
    error = decode(row["error"]) if row["error"] else None
    said = f": {error['type']}: {error['message']}".rstrip(". ") if error else ""
    if status == "cancelled":
        raise RunCancelled(f"Run {run_id} of {row['task']} was cancelled{said}.", run_id=run_id)
    if status == "expired":
        raise RunExpired(f"Run {run_id} of {row['task']} was not started by its deadline.", run_id=run_id)
    raise RunFailed(
        f"Run {run_id} of {row['task']} failed{said}. `openqueue runs show {run_id}` has the traceback.",
        run_id=run_id,
        error=error,
    )
