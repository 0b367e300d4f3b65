"""The composition root: the one file that builds the object graph, from settings to running parts.

What only a worker needs is imported with the first worker: most who come here enqueue.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from openqueue import __version__
from openqueue.db.events import SchemaIsNewer
from openqueue.db.listener import Listener
from openqueue.db.migrations import State, require
from openqueue.db.pool import Database
from openqueue.errors import ConfigError
from openqueue.events import Events
from openqueue.runs.client import Client
from openqueue.runs.model import Run
from openqueue.runs.sync_client import Own, SyncClient
from openqueue.settings import Settings, load_settings
from openqueue.tasks import enqueuer as enqueuers
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.naming import set_roots

if TYPE_CHECKING:
    from openqueue.tasks.lifespans import Lifespan
    from openqueue.tasks.middleware import Middleware
    from openqueue.tasks.registry import Registry
    from openqueue.worker.limits import Limits
    from openqueue.worker.processes import Processes
    from openqueue.worker.worker import Worker

__all__ = [
    "Client",
    "SyncClient",
    "close_default_clients",
    "connect",
    "connect_sync",
    "default_enqueuer",
    "default_sync_client",
    "discover_tasks",
    "enqueue",
    "enqueue_many",
    "enqueue_many_sync",
    "enqueue_sync",
    "open_client",
    "open_worker",
    "run_worker",
]

R = TypeVar("R")

_clients: WeakKeyDictionary[
    asyncio.AbstractEventLoop, tuple[int, asyncio.Future[Client], asyncio.Task[None]]
] = WeakKeyDictionary()
"""The default client of each event loop: the process that opened it (a fork has its own), its keeper."""

_settings: Settings | None = None
"""Those that were given to this process; None: they are read when they are needed."""


def url_of(settings: Settings) -> str:
    """The database's URL. Raises ConfigError, with the remedies, when there is none."""
    if settings.database_url is None:
        raise ConfigError(
            "There is no database: set OPENQUEUE_DATABASE_URL=postgresql://user:password@host:5432/database"
            " (or database_url in openqueue.toml). To try openqueue without a server: `openqueue dev`."
        )
    return settings.database_url.get_secret_value()


@asynccontextmanager
async def open_client(settings: Settings, bus: Events | None = None) -> AsyncIterator[Client]:
    """A client with its own connections, for as long as the block lasts.

    Raises ConfigError without a database, ConnectionFailed, and SchemaError for a schema missing or too old.
    """
    bus = bus or Events()
    set_roots(settings.dirs)
    async with _database(settings, bus, "openqueue client") as database:
        listener = _listener(settings, database, bus, "openqueue client listener")
        async with _client(settings, database, listener) as client:
            yield client


@asynccontextmanager
async def connect(database_url: str | None = None, /, **settings: Any) -> AsyncIterator[Client]:
    """A client: ``async with openqueue.connect("postgresql://…") as oq: await oq.enqueue(…)``.

    What is not given comes from the settings. Within the block, tasks are enqueued through it.
    """
    url = None if database_url is None else SecretStr(database_url)
    async with open_client(load_settings(database_url=url, **settings)) as client:
        with enqueuers.using(client, client.sync):
            yield client


@contextmanager
def connect_sync(database_url: str | None = None, /, **settings: Any) -> Iterator[SyncClient]:
    """The same without an event loop: ``with openqueue.connect_sync("postgresql://…") as oq: oq.enqueue(…)``.

    The client may be used by all threads of the process, and after a fork. Within the block, but not in
    threads started there, tasks are enqueued through it.
    """
    url = None if database_url is None else SecretStr(database_url)
    chosen = load_settings(database_url=url, **settings)
    with SyncClient(Own(lambda: open_client(chosen))) as client, enqueuers.using(client.awaited, client):
        yield client


async def default_enqueuer() -> Client:
    """The process-wide client of this event loop, opened from the settings when first needed.

    It is closed with the loop (`asyncio.run` and `asyncio.Runner` do so before they return).
    """
    loop = asyncio.get_running_loop()
    pid, opened, _ = _clients.get(loop, (0, None, None))
    if opened is None or pid != os.getpid() or (opened.done() and (opened.cancelled() or opened.exception())):
        opened = loop.create_future()
        keeper = loop.create_task(_keep_open(opened), name="openqueue:default-client")
        _clients[loop] = (os.getpid(), opened, keeper)
    return await asyncio.shield(opened)


def close_default_clients() -> None:
    """Close the default clients, with await and without: the next enqueue opens one from the settings."""
    global default_sync_client  # noqa: PLW0603  a closed one is not opened again
    default_sync_client.close()
    default_sync_client = SyncClient(Own(lambda: open_client(_default_settings())))
    kept = [(loop, keeper) for loop, (pid, _, keeper) in _clients.items() if pid == os.getpid()]
    _clients.clear()
    for loop, keeper in kept:
        with suppress(RuntimeError):  # the loop is closed, and its client with it
            loop.call_soon_threadsafe(keeper.cancel)


async def _keep_open(opened: asyncio.Future[Client]) -> None:
    """Hold a client until cancelled: whoever ends the loop cancels what is left, and waits for it."""
    try:
        async with open_client(_default_settings()) as client:
            opened.set_result(client)
            await asyncio.Event().wait()
    except Exception as error:
        if opened.done():
            raise
        opened.set_exception(error)
    finally:
        opened.cancel()


default_sync_client = SyncClient(Own(lambda: open_client(_default_settings())))
"""The process-wide client of code that cannot await, opened from the settings when first needed."""


@overload
async def enqueue(item: Item[R], /, *, connection: object | None = None) -> Run[R]: ...
@overload
async def enqueue(
    task: str,
    payload: Mapping[str, Any] | None = None,
    /,
    *,
    connection: object | None = None,
    allow_unknown: bool = False,
    **options: Any,
) -> Run[Any]: ...
async def enqueue(what: Any, payload: Any = None, /, **options: Any) -> Run[Any]:
    """Enqueue an item, or a task by its name with its arguments by name; see `Client.enqueue`."""
    taker: Any = await enqueuers.enqueuer()
    run: Run[Any] = await taker.enqueue(what, *(() if payload is None else (payload,)), **options)
    return run


async def enqueue_many(items: Iterable[Item[Any]], *, connection: object | None = None) -> list[Run[Any]]:
    """Enqueue all of the items or none, in one statement; see `Client.enqueue_many`."""
    return await (await enqueuers.enqueuer()).enqueue_many(items, connection=connection)


@overload
def enqueue_sync(item: Item[R], /, *, connection: object | None = None) -> Run[R]: ...
@overload
def enqueue_sync(
    task: str,
    payload: Mapping[str, Any] | None = None,
    /,
    *,
    connection: object | None = None,
    allow_unknown: bool = False,
    **options: Any,
) -> Run[Any]: ...
def enqueue_sync(what: Any, payload: Any = None, /, **options: Any) -> Run[Any]:
    """As `enqueue`, for code that cannot await."""
    taker: Any = enqueuers.sync_enqueuer()
    run: Run[Any] = taker.enqueue(what, *(() if payload is None else (payload,)), **options)
    return run


def enqueue_many_sync(items: Iterable[Item[Any]], *, connection: object | None = None) -> list[Run[Any]]:
    """As `enqueue_many`, for code that cannot await."""
    return enqueuers.sync_enqueuer().enqueue_many(items, connection=connection)


def discover_tasks(settings: Settings) -> Registry:
    """The tasks that the settings name; the default directory may be missing where modules are given."""
    from openqueue.tasks.discovery import discover

    only_default = "dirs" not in settings.model_fields_set
    return discover(settings.dirs, settings.modules, allow_missing=only_default and bool(settings.modules))


@asynccontextmanager
async def open_worker(
    settings: Settings,
    *,
    registry: Registry | None = None,
    bus: Events | None = None,
    middleware: Iterable[Middleware] = (),
    lifespans: Iterable[Lifespan] = (),
) -> AsyncIterator[Worker]:
    """A worker, assembled but not running yet.

    Its tasks are those of `registry`, else those found by the settings. `middleware` and `lifespans` come
    after those that are declared in modules.
    """
    from openqueue.tasks.lifespans import declared_lifespans
    from openqueue.tasks.middleware import declared_middleware
    from openqueue.tasks.surrounding import surrounded
    from openqueue.worker.surroundings import Surroundings
    from openqueue.worker.worker import Worker

    bus = bus or Events()
    set_roots(settings.dirs)
    found = surrounded(registry or discover_tasks(settings))
    async with _database(settings, bus, "openqueue worker") as database:
        listener = _listener(settings, database, bus, "openqueue client listener")
        async with _client(settings, database, listener) as client:
            yield Worker(
                database,
                _listener(settings, database, bus, "openqueue listener"),
                found,
                client=client,
                namespace=settings.namespace,
                name=settings.name,
                queues=settings.queues,
                limits=_limits(settings),
                bus=bus,
                version=__version__,
                surroundings=Surroundings(
                    (*declared_middleware(), *middleware),
                    (*declared_lifespans(), *lifespans),
                    processes_of(settings),
                ),
            )


async def run_worker(
    settings: Settings,
    *,
    once: bool = False,
    registry: Registry | None = None,
    bus: Events | None = None,
    started: Any = None,
) -> int:
    """Run a worker until a signal (or, with `once`, until nothing is ready); answers the exit code.

    1 when outcomes could not be stored. `started` is called with the worker, once it is assembled, and with
    how it is told to stop.
    """
    from openqueue.worker.stopping import stopping_on_signals

    stop = asyncio.Event()
    async with open_worker(settings, registry=registry, bus=bus) as worker:
        with stopping_on_signals(stop, worker.target, worker.statements, worker.id) as stopping:
            if started is not None:
                started(worker, stopping)
            await (worker.drain(stop) if once else worker.run(stop))
        return 1 if worker.unsaved else 0


def processes_of(settings: Settings) -> Processes:
    """The processes of a worker; a task in one of them enqueues to the worker's database."""
    from openqueue.worker.processes import Processes

    return Processes([(__name__, "use_settings", (settings.model_copy(update={"pool_size": 1}),))])


def use_settings(settings: Settings) -> None:
    """Open the default clients of this process from these settings, whatever stands elsewhere."""
    global _settings  # noqa: PLW0603  a process for tasks is a worker's
    _settings = settings


def _default_settings() -> Settings:
    return _settings or load_settings()


def _limits(settings: Settings) -> Limits:
    from openqueue.worker.limits import Limits

    return Limits(
        concurrency=settings.concurrency,
        threads=settings.threads,
        processes=settings.task_processes,
        grace=settings.grace.total_seconds(),
        poll=settings.poll_interval.total_seconds(),
        heartbeat=settings.heartbeat.total_seconds(),
        lease=settings.lease.total_seconds(),
        largest_output=settings.max_output,
    )


def _client(settings: Settings, database: Database, listener: Listener) -> Client:
    return Client(
        database,
        listener,
        namespace=settings.namespace,
        largest_input=settings.max_input,
        silence=3 * settings.heartbeat.total_seconds(),
    )


@asynccontextmanager
async def _database(settings: Settings, bus: Events, application: str) -> AsyncIterator[Database]:
    database = Database(
        url_of(settings),
        schema=settings.schema_name,
        emit=bus.emit,
        max_size=settings.pool_size,
        timeout=settings.statement_timeout.total_seconds(),
        application=application,
        pooled=settings.pooler == "transaction",
    )
    async with database:
        async with database.connection() as connection:
            status = await require(connection, settings.schema_name)
        if status.state is State.AHEAD:
            bus.emit(SchemaIsNewer(status.schema, status.applied, status.wanted))
        yield database


def _listener(settings: Settings, database: Database, bus: Events, application: str) -> Listener:
    return Listener(
        settings.session_url.get_secret_value() if settings.session_url else url_of(settings),
        channel=database.schema,
        emit=bus.emit,
        application=application,
        pooled=database.target.pooled and settings.listen_dsn is None,
        statements=database.statements,
    )
