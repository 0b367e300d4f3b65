"""The fixture `openqueue`: what a test asks of its queue."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from openqueue.app import processes_of
from openqueue.clients import close_default_clients, default_enqueuer
from openqueue.db.pool import Database
from openqueue.durations import Duration, parse_duration
from openqueue.events import Events
from openqueue.runs.model import RunInfo
from openqueue.scheduler.declared import DeclaredSchedules
from openqueue.settings import Settings, load_settings
from openqueue.tasks.discovery import discover
from openqueue.tasks.enqueuer import Enqueuer, set_default, set_default_sync
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.testing.draining import Drain, Drained
from openqueue.testing.enqueuing import TestingEnqueuer, TestingSyncEnqueuer
from openqueue.testing.matching import Enqueued, Waiting, Wanted
from openqueue.testing.portal import Portal
from openqueue.testing.ticking import fire_passed

__all__ = ["OpenQueue"]

T = TypeVar("T")

LIMIT = 1_000
"""Attempts in one drain; more are taken for tasks that enqueue each other for ever."""


class OpenQueue:
    """A queue in a database of the test's own. What the program enqueues goes there, and waits.

    database_url   that database, for parts of the program that are given a URL
    advanced       how much time `advance` has let pass
    """

    def __init__(self, database_url: str, portal: Portal) -> None:
        self.database_url = database_url
        self.advanced = timedelta()
        self._portal = portal
        self._enqueuer = TestingEnqueuer()

    def enqueued(self, what: Task[..., Any] | str | None = None, /, **values: Any) -> Enqueued:
        """The runs that wait (scheduled and retrying ones too), oldest first; false if there are none.

        `what` is a task or its name. Arguments are given by name, as many as matter: they are compared with
        what the task would get, and with the JSON that is stored. Options: queue, key, delay ("5m", give or
        take a second), run_at, priority, max_attempts, status, attempt, meta and tags (parts of them), id.
        Raises InvalidOption for a name that is neither an argument nor an option.
        """
        wanted = Wanted(what, values)
        return wanted.find(self._ask(self._waiting()))

    async def drain(self, *, queue: str | None = None, raises: bool = True, limit: int = LIMIT) -> Drained:
        """Run what is ready, here and now, one attempt after the other, until nothing is.

        What these runs enqueue is run too; what is scheduled, or waits to be tried again, when its time
        has come (`advance`). Only `queue`, if given. The first error of a task is raised as it is, after it
        was stored (the rest stays ready); with `raises=False` they are in `errors` of the answer instead.

        Raises UnknownTask when a run of a task is ready that is not declared in this process, and
        UnexpectedState after `limit` attempts.
        """
        settings = load_settings()
        client = await default_enqueuer()
        drain = Drain(
            client,
            self._enqueuer,
            lambda: discover(settings.dirs, settings.modules, allow_missing=True),
            largest_output=settings.max_output,
            processes=processes_of(settings),
            capture_logs=settings.capture_logs,
        )
        return await drain.run(queue=queue, raises=raises, limit=limit)

    def drain_sync(self, *, queue: str | None = None, raises: bool = True, limit: int = LIMIT) -> Drained:
        """As `drain`, for tests without an event loop: `async def` tasks run in one of its own."""
        if _in_event_loop():
            raise RuntimeError("drain_sync would block this event loop: write `await openqueue.drain()`.")
        return self._portal.call(self.drain(queue=queue, raises=raises, limit=limit))

    def advance(self, duration: Duration) -> None:
        """Let time pass: what is scheduled, retrying or has a deadline comes nearer by `duration` ("1h").

        Nothing runs yet. Clocks stay as they are: it is the times of what waits that are moved back, in
        this database; of runs that are over nothing is changed. Raises InvalidOption if it is no duration.

        Schedules fire what is due on the way, in order, each tick as if its time were now; see `publish`.
        """
        passed = parse_duration(duration, field="duration")
        self._ask(self._advance(passed))
        self.advanced += passed

    def publish(self, *tasks: Task[..., Any]) -> None:
        """Add the schedules that these tasks declare (`@task(cron=…)`), as a worker does when it starts.

        From then on `advance` fires them. Raises InvalidOption for one that cannot be computed.
        """
        self._ask(self._publish(tasks))

    @contextmanager
    def inline(self, *, raises: bool = True) -> Iterator[None]:
        """Within the block an enqueue also runs what is ready, before it returns: see `drain`.

        The run it returns has its result. What is for later stays scheduled; what is enqueued with
        `connection=` waits for `drain`, as nobody can see it before the commit. With `raises=False` an
        enqueue never raises what a task raised.
        """
        before, self._enqueuer.after = self._enqueuer.after, lambda: self.drain(raises=raises)
        try:
            yield
        finally:
            self._enqueuer.after = before

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within the block the settings name this database, and the default client is one of it."""
        changed = {"OPENQUEUE_DATABASE_URL": self.database_url, "OPENQUEUE_LISTEN_DSN": self.database_url}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        close_default_clients()
        default = set_default(self._take)
        default_sync = set_default_sync(TestingSyncEnqueuer(self._enqueuer, self._portal))
        try:
            yield
        finally:
            set_default(default)
            set_default_sync(default_sync)
            close_default_clients()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    async def _take(self) -> Enqueuer:
        return self._enqueuer

    async def _waiting(self) -> list[Waiting]:
        settings = load_settings()
        async with self._database(settings) as database:
            rows = await database.fetch("testing_waiting", settings.namespace)
        found = []
        for row in rows:
            fields = dict(row)
            asked_for = fields.pop("asked_for")
            found.append(Waiting(RunInfo.of(fields), asked_for))
        return found

    async def _advance(self, passed: timedelta) -> None:
        settings = load_settings()
        async with self._database(settings) as database:
            await fire_passed(database, settings.namespace, self.advanced, passed)
            await database.execute("testing_advance", passed)
            await database.execute("testing_advance_schedules", passed)

    async def _publish(self, tasks: Sequence[Task[..., Any]]) -> None:
        settings = load_settings()
        async with self._database(settings) as database:
            declared = DeclaredSchedules(database, Registry(tasks), settings.namespace, Events().emit)
            await declared.once()

    def _database(self, settings: Settings) -> Database:
        return Database(
            self.database_url, schema=settings.schema_name, max_size=1, application="openqueue testing"
        )

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Without `await`, also from a test in an event loop: it is asked in another thread."""
        return self._portal.call(question)

    def __repr__(self) -> str:
        return f"<OpenQueue: {self.enqueued()!r}>"


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
