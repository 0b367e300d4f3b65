"""`client.schedules` for code that cannot await."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack

from openqueue.db.connections import require_sync
from openqueue.durations import Duration
from openqueue.runs.loops import in_place
from openqueue.scheduler.asked import ScheduleChanges, ScheduleWords
from openqueue.scheduler.client import Schedules, Triggered
from openqueue.scheduler.handle import Schedule
from openqueue.scheduler.model import Backfilled, ScheduleInfo, TickInfo
from openqueue.tasks.task import Task

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.sync_client import SyncClient

__all__ = ["SyncSchedules"]

T = TypeVar("T")


class Call(Protocol):
    """Asks the asynchronous client something in its loop, and waits."""

    def __call__(self, ask: Callable[[Client], Coroutine[Any, Any, T]]) -> T: ...


class SyncSchedules:
    """The calls of `Schedules`, without await; a `connection` is one of a synchronous driver."""

    def __init__(self, client: SyncClient, call: Call) -> None:
        self._client = client
        self._ask = call

    def add(
        self,
        key: str,
        task: Task[..., Any] | str,
        input: Mapping[str, Any] | None = None,  # noqa: A002  as in @task
        /,
        *,
        connection: object | None = None,
        allow_unknown: bool = False,
        **options: Unpack[ScheduleWords],
    ) -> Schedule:
        """Add a schedule, or replace the one of that key; see `Schedules.add`."""
        order = self._ask(
            lambda client: client.schedules.prepare(key, task, input, allow_unknown=allow_unknown, **options)
        )
        return self._on(connection, lambda schedules: schedules.keep(order, connection))

    def update(
        self,
        key: str,
        /,
        *,
        connection: object | None = None,
        allow_unknown: bool = False,
        **changes: Unpack[ScheduleChanges],
    ) -> Schedule:
        """Change some options of a schedule; see `Schedules.update`."""
        before = self._on(connection, lambda schedules: schedules.get(key, connection=connection))
        words = self._ask(lambda client: client.schedules.check(before, changes, allow_unknown=allow_unknown))
        return self._on(connection, lambda schedules: schedules.change(key, words, connection))

    def get(self, key: str, /, *, connection: object | None = None) -> ScheduleInfo:
        """Everything known of a schedule. Raises ScheduleNotFound."""
        return self._on(connection, lambda schedules: schedules.get(key, connection=connection))

    def list(self) -> Sequence[ScheduleInfo]:
        """All schedules, by key."""
        return self._on(None, lambda schedules: schedules.list())

    def pause(
        self,
        key: str,
        /,
        until: datetime | Duration | None = None,
        *,
        reason: str | None = None,
        connection: object | None = None,
    ) -> None:
        """Pause a schedule; see `Schedules.pause`."""
        self._on(
            connection,
            lambda schedules: schedules.pause(key, until, reason=reason, connection=connection),
        )

    def resume(self, key: str, /, *, connection: object | None = None) -> None:
        """Resume a paused schedule; see `Schedules.resume`."""
        self._on(connection, lambda schedules: schedules.resume(key, connection=connection))

    def trigger(self, key: str, /, *, connection: object | None = None) -> Triggered:
        """Fire a schedule now; see `Schedules.trigger`."""
        return self._on(connection, lambda schedules: schedules.trigger(key, connection=connection))

    def backfill(
        self,
        key: str,
        /,
        start: datetime | str,
        end: datetime | str,
        *,
        rate: int | None = None,
        limit: int = 10_000,
        progress: Callable[[Backfilled], object] | None = None,
        connection: object | None = None,
    ) -> Backfilled:
        """Enqueue a run for each time of a range; see `Schedules.backfill`.

        `progress` is told in another thread, unless there is a `connection`.
        """
        return self._on(
            connection,
            lambda schedules: schedules.backfill(
                key, start, end, rate=rate, limit=limit, progress=progress, connection=connection
            ),
        )

    def next(
        self,
        key: str = "",
        /,
        n: int = 5,
        *,
        after: datetime | str | None = None,
        **rule: Unpack[ScheduleWords],
    ) -> Sequence[datetime]:
        """The next times of a schedule, also of one that does not exist yet; see `Schedules.next`."""
        return self._on(None, lambda schedules: schedules.next(key, n, after=after, **rule))

    def ticks(
        self, key: str, /, *, limit: int = 50, before: datetime | str | None = None
    ) -> Sequence[TickInfo]:
        """What became of its times, newest first; see `Schedules.ticks`."""
        return self._on(None, lambda schedules: schedules.ticks(key, limit=limit, before=before))

    def remove(self, key: str, /, *, connection: object | None = None) -> bool:
        """Remove a schedule: False if there is none; see `Schedules.remove`."""
        return self._on(connection, lambda schedules: schedules.remove(key, connection=connection))

    def _on(self, connection: object | None, ask: Callable[[Schedules], Coroutine[Any, Any, T]]) -> T:
        """In the client's loop; on the caller's connection here, in the caller's thread."""
        if connection is None:
            return self._ask(lambda client: ask(client.schedules))
        require_sync(connection)
        return in_place(ask(self._client.opened().schedules))
