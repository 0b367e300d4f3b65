"""A worker in the test's own event loop, for what can be shown without a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from openqueue.app import open_worker
from openqueue.db.events import ListenerAbsent, ListenerConnected
from openqueue.errors import ConnectionFailed
from openqueue.events import Event, Events
from openqueue.settings import load_settings
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.worker.worker import Worker
from tests.support.eventually import PATIENCE, eventually

E = TypeVar("E", bound=Event)


class WorkerHere:
    """The worker, what it tells, and how to stop it."""

    def __init__(
        self, worker: Worker, stop: asyncio.Event, told: list[Event], ending: asyncio.Task[None]
    ) -> None:
        self.worker = worker
        self.stop = stop
        self.told = told
        self.ending = ending

    def heard(self, kind: type[E]) -> list[E]:
        return [one for one in self.told if isinstance(one, kind)]

    async def wait_for(self, kind: type[E], *, count: int = 1, timeout: float = PATIENCE) -> E:
        await eventually(lambda: len(self.heard(kind)) >= count, timeout=timeout, what=kind.__name__)
        return self.heard(kind)[count - 1]

    async def stopped(self) -> None:
        self.stop.set()
        await self.ending


@asynccontextmanager
async def working(
    dsn: str,
    *tasks: Task[..., Any],
    prepare: Callable[[Worker], object] = lambda worker: None,
    **settings: Any,
) -> AsyncIterator[WorkerHere]:
    """A worker of these tasks that has begun to work; `prepare` may change it before. Stopped at the end."""
    told: list[Event] = []
    bus = Events()
    bus.subscribe(None, told.append)
    chosen = load_settings(database_url=dsn, **settings)
    async with open_worker(chosen, registry=Registry(tasks), bus=bus) as worker:
        prepare(worker)
        stop = asyncio.Event()
        ending = asyncio.create_task(worker.run(stop))
        here = WorkerHere(worker, stop, told, ending)
        try:
            await eventually(
                lambda: ending.done() or here.heard(ListenerConnected) or here.heard(ListenerAbsent),
                what="connected",
            )
            yield here
        except BaseException:
            print(f"{worker.name} told:", *told[-60:], sep="\n")
            raise
        finally:
            stop.set()
            await asyncio.wait([ending])
    await ending


class Forgetful:
    """A database whose answers to `statement` are lost, `times` times, after it was carried out.

    Of "claim" those of both its statements that brought a job: by the way that it takes by itself.
    """

    def __init__(self, database: Any, statement: str, times: int) -> None:
        self._database = database
        self._statement = statement
        self.left = times

    async def fetch(self, statement: str, *args: Any, **options: Any) -> Any:
        return self._lose(statement, await self._database.fetch(statement, *args, **options))

    async def fetchval(self, statement: str, *args: Any, **options: Any) -> Any:
        return self._lose(statement, await self._database.fetchval(statement, *args, **options))

    def _lose(self, statement: str, answer: Any) -> Any:
        if self.left > 0 and self._is_meant(statement, answer):
            self.left -= 1
            raise ConnectionFailed("the answer was lost")
        return answer

    def _is_meant(self, statement: str, answer: Any) -> bool:
        if self._statement == "claim":
            return statement in ("claim_jobs", "claim_lane") and any(row["id"] for row in answer)
        return statement == self._statement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)
