"""`client.schedules`: what an application does with schedules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

from openqueue.codec import encode
from openqueue.db.connections import adapt
from openqueue.durations import Duration
from openqueue.errors import InvalidOption, ScheduleNotFound, did_you_mean
from openqueue.runs.model import Run
from openqueue.scheduler.asked import (
    Asked,
    ScheduleChanges,
    ScheduleWords,
    as_arguments,
    asked,
    changed,
    rule_of,
    said,
)
from openqueue.scheduler.backfill import Backfill, pace
from openqueue.scheduler.firetimes import Firetimes
from openqueue.scheduler.handle import Schedule
from openqueue.scheduler.keys import key_of_runs
from openqueue.scheduler.model import Backfilled, ScheduleInfo, TickInfo
from openqueue.scheduler.until import to_come
from openqueue.tasks.checks import check_moment, check_text, check_whole
from openqueue.tasks.task import Task

if TYPE_CHECKING:
    from openqueue.runs.client import Client

__all__ = ["Schedules", "Triggered"]

MOST_TIMES = 10_000

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Triggered:
    """What firing by hand did, by the overlap policy: 'fired' (there is a `run`), 'waiting', 'overlap'."""

    outcome: Literal["fired", "waiting", "overlap"]
    run: Run[Any] | None


class Schedules:
    """The schedules of a client's namespace.

    With `connection` a call is part of the caller's transaction, as an enqueue is: nothing of it is so
    before the commit. Keys that name no schedule raise ScheduleNotFound, with the nearest ones.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._database = client.database

    async def add(
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
        """Add a schedule, or replace the one of that key; its `outcome` is added, updated or unchanged.

        A name that no worker has published is refused (UnknownTask) unless `allow_unknown`, and so are
        arguments that the task would refuse (InvalidArguments). A concurrency key that is a function is
        worked out now; of a task by name, give it. Raises InvalidOption for what cannot be computed, never
        fires, or is no option; and for a key of which the code declares the schedule.
        """
        order = await self.prepare(key, task, input, allow_unknown=allow_unknown, **options)
        return await self.keep(order, connection)

    async def prepare(
        self,
        key: str,
        task: Task[..., Any] | str,
        input: Mapping[str, Any] | None = None,  # noqa: A002
        /,
        *,
        allow_unknown: bool = False,
        **options: Unpack[ScheduleWords],
    ) -> Asked:
        """Check what `add` is given, without storing it."""
        check_text(key, "key")
        words = asked(options)
        name = await self._check_input(task, input, allow_unknown=allow_unknown)
        if isinstance(task, Task):
            words = {"concurrency_key": key_of_runs(task, input or {}), **words}
        return Asked(key, as_arguments(key, name, input or {}, words, self._client.namespace))

    async def keep(self, order: Asked, connection: object | None = None) -> Schedule:
        """Store what was prepared."""
        ((outcome,),) = await self._values(connection, "add_schedule", order.arguments, order.key)
        return Schedule(self._client, order.key, outcome)

    async def update(
        self,
        key: str,
        /,
        *,
        connection: object | None = None,
        allow_unknown: bool = False,
        **changes: Unpack[ScheduleChanges],
    ) -> Schedule:
        """Change some options of a schedule (and its `task`, its `input`); None is the default.

        One of cron and every takes the other's place. A changed rule has missed nothing of what was before.
        Where a function makes the concurrency key, new arguments need a new key. Raises as `add`.
        """
        before = await self.get(key, connection=connection)
        words = await self.check(before, changes, allow_unknown=allow_unknown)
        return await self.change(key, words, connection)

    async def check(
        self, before: ScheduleInfo, changes: Mapping[str, Any], *, allow_unknown: bool = False
    ) -> dict[str, Any]:
        """Check what `update` is given, without storing it."""
        words = changed(changes, before)
        if "task" in words or "input" in words:
            arguments = words.get("input", before.input)
            await self._check_input(words.get("task", before.task), arguments, allow_unknown=allow_unknown)
        return words

    async def change(self, key: str, words: Mapping[str, Any], connection: object | None = None) -> Schedule:
        """Store what was checked."""
        arguments = [key, encode(said(words), what="changes"), self._client.namespace]
        ((outcome,),) = await self._values(connection, "update_schedule", arguments, key)
        return Schedule(self._client, key, outcome)

    async def get(self, key: str, /, *, connection: object | None = None) -> ScheduleInfo:
        """Everything known of a schedule. Raises ScheduleNotFound."""
        check_text(key, "key")
        rows = await self._fetch(connection, "schedule_infos", [self._client.namespace, key])
        if not rows:
            raise await self._not_found(key, connection)
        return ScheduleInfo.of(rows[0])

    async def list(self) -> Sequence[ScheduleInfo]:
        """All schedules, by key."""
        return [
            ScheduleInfo.of(row)
            for row in await self._fetch(None, "schedule_infos", [self._client.namespace, None])
        ]

    async def pause(
        self,
        key: str,
        /,
        until: datetime | Duration | None = None,
        *,
        reason: str | None = None,
        connection: object | None = None,
    ) -> None:
        """Pause a schedule until a moment, for so long, or until it is resumed. What runs goes on."""
        moment = None if until is None else to_come(until, "until")
        if isinstance(moment, timedelta):
            moment += await self._now(connection)
        if reason is not None:
            check_text(reason, "reason")
        told = None if moment is None else moment.isoformat()
        await self._values(connection, "pause_schedule", [key, told, reason, self._client.namespace], key)

    async def resume(self, key: str, /, *, connection: object | None = None) -> None:
        """Resume a paused schedule; one with `catch_up` makes up for the newest of what it missed."""
        await self._values(connection, "resume_schedule", [key, self._client.namespace], key)

    async def trigger(self, key: str, /, *, connection: object | None = None) -> Triggered:
        """Fire a schedule now, also a paused one; its overlap policy holds. Its times stay as they are."""
        rows = await self._values(connection, "run_schedule_now", [key, self._client.namespace], key)
        ((outcome, run_id, task),) = rows
        return Triggered(outcome, None if run_id is None else Run(self._client, run_id, task))

    async def backfill(
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
        """Enqueue a run for each time of a schedule from `start` to `end`, both included, flagged as such.

        A time that has a run is left out: to repeat it adds nothing, and to repeat one that was
        interrupted goes on with it. Overlap is not regarded, and the schedule's own times go on as they
        were. It goes in steps, each of which is there at once, at most `rate` runs (100) in a second. With
        `connection` all of it is there when that transaction is committed, so it has no rate, and until
        then the schedule does not fire. `progress` is told after each step. Raises InvalidOption for a
        range that ends in the future, or that has more than `limit` times.
        """
        info = await self.get(key, connection=connection)
        backfill = Backfill(
            lambda statement, arguments: self._fetch(connection, statement, arguments),
            self._client.namespace,
            info,
            rate=pace(rate, transactional=connection is not None),
            limit=limit,
        )
        return await backfill.run(check_moment(start, "start"), check_moment(end, "end"), progress)

    async def next(
        self,
        key: str = "",
        /,
        n: int = 5,
        *,
        after: datetime | str | None = None,
        **rule: Unpack[ScheduleWords],
    ) -> Sequence[datetime]:
        """The next `n` times of a schedule; or, with cron= or every=, of one that does not exist yet.

        From now, or after a moment. An interval that does not exist yet is counted from there. Of a
        schedule that is paused, those after its pause; if that has no end, as if it ended now.
        """
        check_whole(1, MOST_TIMES)(n, "n")
        now = await self._now(None)
        begin = now if after is None else check_moment(after, "after")
        if rule or not key:
            times = Firetimes(rule_of(asked(rule)), key=key, anchor=begin)
            return list(islice(times.between(begin, datetime.max.replace(tzinfo=begin.tzinfo)), n))
        return (await self.get(key)).coming(n, begin)

    async def ticks(
        self, key: str, /, *, limit: int = 50, before: datetime | str | None = None
    ) -> Sequence[TickInfo]:
        """What became of its times, newest first; also of a schedule that was removed."""
        check_whole(1, MOST_TIMES)(limit, "limit")
        told = None if before is None else check_moment(before, "before").isoformat()
        rows = await self._fetch(None, "schedule_history", [self._client.namespace, key, told, limit])
        return [TickInfo.of(row) for row in rows]

    async def remove(self, key: str, /, *, connection: object | None = None) -> bool:
        """Remove a schedule: False if there is none. Its runs and the history of its ticks stay."""
        check_text(key, "key")
        ((removed,),) = await self._values(connection, "remove_schedule", [key, self._client.namespace], key)
        return bool(removed)

    async def _check_input(
        self, task: Task[..., Any] | str, arguments: Mapping[str, Any] | None, *, allow_unknown: bool
    ) -> str:
        """The task's name, if it would take these arguments."""
        if isinstance(task, Task):
            task.arguments.parse(encode(dict(arguments or {}), what="input"))
            return task.name
        return (await self._client.item(task, arguments, allow_unknown=allow_unknown)).task

    async def _now(self, connection: object | None) -> datetime:
        """The database's time."""
        ((now,),) = await self._values(connection, "database_time", [])
        return cast("datetime", now)

    async def _values(
        self, connection: object | None, statement: str, arguments: Sequence[Any], key: str = ""
    ) -> Rows:
        """The rows of a statement, as tuples."""
        try:
            rows = await self._fetch(connection, statement, arguments)
        except InvalidOption as error:
            if error.option == "key" and "names no schedule" in str(error):
                raise await self._not_found(key, connection) from error
            raise
        return [tuple(dict(row).values()) for row in rows]

    async def _fetch(
        self, connection: object | None, statement: str, arguments: Sequence[Any]
    ) -> Sequence[Any]:
        executor: Any = self._database if connection is None else adapt(connection)
        fetch: Callable[..., Awaitable[Sequence[Any]]] = executor.fetch
        return await fetch(self._database.text(statement), *arguments)

    async def _not_found(self, key: str, connection: object | None) -> ScheduleNotFound:
        """That there is none; on a connection of the caller's nothing more can be asked."""
        rows = (
            await self._fetch(None, "schedule_keys", [self._client.namespace]) if connection is None else ()
        )
        hint = (
            did_you_mean(key, [row["key"] for row in rows])
            or " See which there are: openqueue schedule list."
        )
        return ScheduleNotFound(
            f"There is no schedule {key!r} in namespace {self._client.namespace!r}.{hint}", key=key
        )
