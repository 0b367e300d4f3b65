"""Workers inside other programs: in one's own event loop, or beside a web application.

`openqueue worker` is a process; this is the same worker as a part of yours. It lives in the event loop that
runs the program, takes no signal unless asked, logs to your logging, and there may be several.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from openqueue.app import open_worker
from openqueue.clients import default_enqueuer, open_client
from openqueue.errors import ConfigError, InvalidTask, shown
from openqueue.events import Events
from openqueue.runs.client import Client
from openqueue.settings import Settings, load_settings
from openqueue.tasks.discovery import discover
from openqueue.tasks.enqueuer import Enqueuer, set_default, set_default_sync, using
from openqueue.tasks.lifespans import Lifespan, check_lifespans
from openqueue.tasks.middleware import Middleware, check_middleware
from openqueue.tasks.naming import set_roots
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.telemetry.logs import Logs
from openqueue.worker.events import WorkerStarted
from openqueue.worker.stopping import stopping_on_signals
from openqueue.worker.worker import Worker as Running

__all__ = ["Worker", "lifespan"]


class Worker:
    """A worker in your event loop, as in ``async with Worker(tasks=[send_mail]): …``.

    It takes in work from the beginning of the block. At the block's end, also by an error, it stops as a
    process does on SIGTERM: what runs has its `grace`, is then cancelled and goes back to the queue. Within
    the block tasks are enqueued to its database. Should the worker itself end by an error, the block is
    cancelled, and left with that error.

    tasks, modules, dirs   what it runs: tasks, modules by import name, directories; what the settings say if
                           none of them is given
    database_url           as anything that is not given: from the settings, when the block is entered
    queues                 names, "name:most at once", or a dict of both; None: all
    concurrency            `async def` tasks at a time (`threads`: the others)
    signals                whether SIGTERM and SIGINT stop it, so that `wait` returns; else they stay yours
    events                 a bus of `openqueue.events`, on which it tells what happens
    middleware, lifespans  what goes around each attempt, and around its life, after what modules declare
    settings               any other setting: threads, name, grace, namespace, schema_name, pool_size …

    What is no task is refused when it is made; entering raises ConfigError, ConnectionFailed, SchemaError
    and InvalidTask.
    """

    def __init__(
        self,
        *,
        tasks: Iterable[Task[..., Any]] | None = None,
        modules: str | Iterable[str] | None = None,
        dirs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
        database_url: str | None = None,
        queues: str | Iterable[str] | Mapping[str, int | None] | None = None,
        concurrency: int | None = None,
        signals: bool = False,
        events: Events | None = None,
        middleware: Iterable[Middleware] = (),
        lifespans: Iterable[Lifespan] = (),
        **settings: Any,
    ) -> None:
        self._tasks = None if tasks is None else [_task(one) for one in tasks]
        self._modules = [modules] if isinstance(modules, str) else None if modules is None else list(modules)
        one_dir = [dirs] if isinstance(dirs, str | os.PathLike) else dirs
        self._dirs = None if one_dir is None else [os.fspath(one) for one in one_dir]
        self._signals = signals
        self._events = events
        self._middleware = check_middleware(middleware, "middleware")
        self._lifespans = check_lifespans(lifespans, "lifespans")
        self._settings = {
            "database_url": None if database_url is None else SecretStr(database_url),
            "queues": queues if queues is None or isinstance(queues, str | Mapping) else list(queues),
            "concurrency": concurrency,
            "dirs": self._dirs,
            **settings,
        }
        self._stop = asyncio.Event()
        self._block: AsyncExitStack | None = None
        self._running: Running | None = None

    @property
    def client(self) -> Client:
        """The client of its database, to enqueue and to look at runs; within the block only."""
        if self._running is None:
            raise RuntimeError("This Worker does not run: enter it with `async with`.")
        return self._running.client

    @property
    def ready(self) -> bool:
        """Whether it takes in work and has been heard by the database lately; for your health check."""
        return self._running is not None and self._running.ready

    def stop(self) -> None:
        """Take in no more work, and let `wait` return; what runs ends with the block. Safe to repeat."""
        self._stop.set()

    async def wait(self) -> None:
        """Return when it has been told to stop: by `stop`, or by a signal if it takes them."""
        await self._stop.wait()

    async def run(self) -> None:
        """The block in one call: work until told to stop, or until cancelled."""
        async with self:
            await self.wait()

    async def __aenter__(self) -> Self:
        if self._block is not None:
            raise RuntimeError("This Worker runs already: make another one.")
        self._stop = asyncio.Event()
        self._block = AsyncExitStack()
        try:
            self._running = await self._block.enter_async_context(self._working())
        except BaseException:
            self._block = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        try:
            return await self._block.__aexit__(kind, error, trace)
        finally:
            self._block = self._running = None

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[Running]:
        settings = load_settings(**self._settings)
        bus = self._events or Events()
        started: set[object] = set()
        begun = asyncio.Event()
        async with open_worker(
            settings,
            registry=self._registry(settings),
            bus=bus,
            middleware=self._middleware,
            lifespans=self._lifespans,
        ) as running:
            with (
                _subscribed(Logs(logging.getLevelName(settings.log_level.upper())).subscribe(bus)),
                _subscribed(bus.subscribe(WorkerStarted, lambda event: started.add(event.worker))),
                _subscribed(bus.subscribe(WorkerStarted, lambda _: begun.set())),
                self._signalled(running),
            ):
                async with _beside(running, self._stop):
                    while running.id not in started:
                        await begun.wait()
                        begun.clear()
                    with using(running.client, running.client.sync):
                        yield running

    def _registry(self, settings: Settings) -> Registry | None:
        """The tasks that were given or are where it was said to look; None: those of the settings."""
        if self._tasks is None and self._modules is None and self._dirs is None:
            return None
        try:
            found = discover(self._dirs or (), self._modules or ())
        finally:
            set_roots(settings.dirs)  # names are those that every other process gives them
        return Registry([*(self._tasks or ()), *found])

    @contextmanager
    def _signalled(self, running: Running) -> Iterator[None]:
        if not self._signals:
            yield
            return
        with stopping_on_signals(self._stop, running.target, running.statements, running.id, running.leaving):
            yield


def _task(given: Any) -> Task[..., Any]:
    if not isinstance(given, Task):
        raise InvalidTask(
            f"tasks: {shown(given)} is no task. Give functions under @task; where they are is said by"
            " modules= or dirs=."
        )
    return given


def lifespan(
    worker: Worker | None = None, /, *, database_url: str | None = None, **settings: Any
) -> Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """For Starlette, FastAPI and others: ``FastAPI(lifespan=openqueue.lifespan())``.

    As long as the application runs there is a client, by which `await task.enqueue(…)` goes everywhere in
    it; it is `request.state.openqueue` too. A `worker` (`lifespan(Worker(modules=["tasks"]))`) works beside
    it, in the same event loop; without one, settings may be given here. May be entered again and again.
    """
    if worker is not None and (database_url is not None or settings):
        raise ConfigError("lifespan: the settings are those of the worker. Give them to Worker(...).")
    url = None if database_url is None else SecretStr(database_url)

    @asynccontextmanager
    async def of_application(_application: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            if worker is not None:
                client = (await stack.enter_async_context(worker)).client
            else:
                client = await stack.enter_async_context(
                    open_client(load_settings(database_url=url, **settings))
                )
            with _default_in_this_loop(client):
                yield {"openqueue": client}

    return of_application


@asynccontextmanager
async def _beside(running: Running, stop: asyncio.Event) -> AsyncIterator[None]:
    """Run the worker beside the body; an error of it cancels the body, and leaves as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(running.run(stop), name=f"openqueue:worker {running.name}")
            try:
                yield
            finally:
                stop.set()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from errors.exceptions[0].__cause__
        raise


@contextmanager
def _subscribed(unsubscribe: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        unsubscribe()


@contextmanager
def _default_in_this_loop(client: Client) -> Iterator[None]:
    """Requests are not served in the context of the lifespan: it is the default that they get."""
    loop = asyncio.get_running_loop()

    async def provide() -> Enqueuer:
        return client if asyncio.get_running_loop() is loop else await default_enqueuer()

    before, sync = set_default(provide), set_default_sync(client.sync)
    if before is not None:  # of several applications the first one's stay
        set_default(before)
        set_default_sync(sync)
    try:
        yield
    finally:
        set_default(before)
        set_default_sync(sync)
