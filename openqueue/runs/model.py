"""What a caller holds in hand: a run, what is known of it, and what happened to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from uuid import UUID

from openqueue.codec import decode
from openqueue.durations import Duration
from openqueue.runs.states import ENDED
from openqueue.tasks.carrier import without_carrier
from openqueue.tasks.tick import Tick, without_tick

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.tasks.task import Task

__all__ = ["Attempt", "Row", "Run", "RunEvent", "RunInfo"]

R = TypeVar("R")
T = TypeVar("T")

Row = Any
"""A record of the database: columns by name, and by `dict()` all of them."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as it was when read. Times are the database's.

    status    scheduled queued running retrying · completed failed cancelled expired
    attempt   number of the current or last attempt that counts; 0 before the first
    run_at    not before then; for a retry, when it is due
    error     why it ended as it did, or why it is retrying; None while it waits or runs otherwise
    """

    id: UUID
    namespace: str
    task: str
    queue: str
    priority: int
    status: str
    input: Any
    output: Any
    error: Mapping[str, Any] | None
    progress: Mapping[str, Any] | None
    meta: Mapping[str, Any]
    tags: tuple[str, ...]
    key: str | None
    attempt: int
    max_attempts: int
    worker: UUID | None
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime | None

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in ENDED

    @property
    def tick(self) -> Tick | None:
        """The time of a schedule that it is of, if it is of one."""
        return without_tick(self.meta)[0]

    @classmethod
    def of(cls, row: Row) -> RunInfo:
        """Read a row of one of the run queries."""
        fields = dict(row)
        for name in ("input", "output", "error", "progress", "meta"):
            fields[name] = None if fields[name] is None else decode(fields[name])
        fields["meta"] = without_carrier(fields["meta"])[1]
        return cls(**{**fields, "tags": tuple(fields["tags"])})


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something in a run's timeline: enqueued, started, progress, log, retried, completed, failed.

    attempt   number of the attempt as the task sees it, and max_attempts counts; None where it is of none
    number    the number that never restarts, as in Attempt
    data      what the event says besides: {"by": "hand"} where somebody asked for another attempt
    """

    at: datetime
    event: str
    attempt: int | None
    worker: UUID | None
    data: Mapping[str, Any]
    number: int | None = None

    @classmethod
    def of(cls, row: Row) -> RunEvent:
        """Read a row of `run_events`."""
        data = decode(row["data"])
        return cls(row["at"], row["event"], row["attempt"], row["worker"], data, row["number"])


@dataclass(frozen=True, slots=True)
class Attempt:
    """A finished attempt. `number` never restarts; `counted` is its place towards max_attempts."""

    number: int
    counted: int
    outcome: str
    final: bool
    worker: UUID | None
    started_at: datetime | None
    finished_at: datetime
    error: Mapping[str, Any] | None

    @classmethod
    def of(cls, row: Row) -> Attempt:
        """Read a row of `run_attempts`."""
        error = None if row["error"] is None else decode(row["error"])
        return cls(
            row["attempt"],
            row["counted"],
            row["outcome"],
            row["final"],
            row["worker"],
            row["started_at"],
            row["finished_at"],
            error,
        )


class Run(Generic[R]):
    """A run that was asked for: wait for its result, look at it, cancel it.

    What ends in `_sync` is for code that cannot await; the rest may be awaited in any event loop.

    id        its UUIDv7
    task      the task's name
    outcome   what the enqueue did: 'added', 'existing' (its key or id was there) or 'replaced'
    """

    __slots__ = ("_client", "_declared", "id", "outcome", "task")

    id: UUID
    task: str
    outcome: Literal["added", "existing", "replaced"]

    def __init__(
        self,
        client: Client,
        id: UUID,  # noqa: A002  as the attribute
        task: str,
        outcome: Literal["added", "existing", "replaced"] = "added",
        declared: Task[..., R] | None = None,
    ) -> None:
        self._client = client
        self._declared = declared
        self.id = id
        self.task = task
        self.outcome = outcome

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait until the run has ended and return what the task returned.

        Raises RunFailed, RunCancelled or RunExpired by its end, RunNotFound, and TimeoutError once
        `timeout` (seconds, "10s", a timedelta; None: no limit; 0: look once) is over; the run then goes on.
        """
        value: R = await self._ask(lambda client: client.result(self.id, timeout, declared=self._declared))
        return value

    async def info(self) -> RunInfo:
        """Everything known of it now. Raises RunNotFound."""
        return await self._ask(lambda client: client.get(self.id))

    async def status(self) -> str:
        """Its status now; see RunInfo. Raises RunNotFound."""
        return (await self.info()).status

    async def cancel(self, reason: str | None = None) -> str:
        """Cancel it: see `Client.cancel`."""
        return await self._ask(lambda client: client.cancel(self.id, reason))

    async def retry(self) -> str:
        """Run it again, or now: see `Client.retry`."""
        return await self._ask(lambda client: client.retry(self.id))

    async def events(self) -> Sequence[RunEvent]:
        """Its timeline so far, oldest first."""
        return await self._ask(lambda client: client.events(self.id))

    def result_sync(self, timeout: Duration | None = None) -> R:
        """As `result`; blocks this thread."""
        value: R = self._client.sync.result(self.id, timeout, declared=self._declared)
        return value

    def info_sync(self) -> RunInfo:
        """As `info`."""
        return self._client.sync.get(self.id)

    def status_sync(self) -> str:
        """As `status`."""
        return self.info_sync().status

    def cancel_sync(self, reason: str | None = None) -> str:
        """As `cancel`."""
        return self._client.sync.cancel(self.id, reason)

    def retry_sync(self) -> str:
        """As `retry`."""
        return self._client.sync.retry(self.id)

    def events_sync(self) -> Sequence[RunEvent]:
        """As `events`."""
        return self._client.sync.events(self.id)

    async def _ask(self, ask: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Ask the client, in its own event loop where that is another one."""
        if self._client.loop in (None, asyncio.get_running_loop()):
            return await ask(self._client)
        return await asyncio.wrap_future(self._client.sync.submit(ask))

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.task}>"
