"""Clients, as the settings ask for them: those of a block, and the default ones of a process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from openqueue.db.events import SchemaIsNewer
from openqueue.db.listener import Listener
from openqueue.db.migrations import State, require
from openqueue.db.pool import Database
from openqueue.errors import ConfigError
from openqueue.events import Events
from openqueue.runs.client import Client
from openqueue.runs.homes import Own
from openqueue.runs.model import Run
from openqueue.runs.sync_client import SyncClient
from openqueue.settings import Settings, load_settings
from openqueue.tasks import enqueuer as enqueuers
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.naming import set_roots

if TYPE_CHECKING:
    from openqueue.telemetry.tracing import OpenTelemetry

__all__ = [
    "Client",
    "SyncClient",
    "client_of",
    "close_default_clients",
    "connect",
    "connect_sync",
    "database_of",
    "default_enqueuer",
    "default_sync_client",
    "enqueue",
    "enqueue_many",
    "enqueue_many_sync",
    "enqueue_sync",
    "listener_of",
    "open_client",
    "tracer_of",
    "url_of",
    "use_settings",
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
            " (or database_url in openqueue.toml). To try openqueue without a server: `openqueue dev`,"
            " which prints the line that sets it."
        )
    return settings.database_url.get_secret_value()


@asynccontextmanager
async def open_client(settings: Settings, bus: Events | None = None) -> AsyncIterator[Client]:
    """A client with its own connections, for as long as the block lasts.

    Raises ConfigError without a database, ConnectionFailed, and SchemaError for a schema missing or too old.
    """
    bus = bus or Events()
    set_roots(settings.dirs)
    async with (
        database_of(settings, bus, "openqueue client") as database,
        client_of(settings, database, bus) as client,
    ):
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


def use_settings(settings: Settings) -> None:
    """Open the default clients of this process from these settings, whatever stands elsewhere."""
    global _settings  # noqa: PLW0603  a process for tasks is a worker's
    _settings = settings


def _default_settings() -> Settings:
    return _settings or load_settings()


@asynccontextmanager
async def database_of(
    settings: Settings, bus: Events, application: str, *, idle: float = 300.0
) -> AsyncIterator[Database]:
    """The connections that the settings ask for, to a schema that is there and new enough.

    Raises ConfigError without a database, ConnectionFailed, and SchemaError.
    """
    database = Database(
        url_of(settings),
        schema=settings.schema_name,
        emit=bus.emit,
        max_size=settings.pool_size,
        idle=idle,
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


def client_of(settings: Settings, database: Database, bus: Events) -> Client:
    """A client over these connections, and a listener of its own, when first it waits."""
    return Client(
        database,
        listener_of(settings, database, bus, "openqueue client listener"),
        namespace=settings.namespace,
        largest_input=settings.max_input,
        silence=3 * settings.heartbeat.total_seconds(),
        idempotency_ttl=settings.idempotency_ttl.total_seconds(),
        tracer=tracer_of(settings),
    )


def tracer_of(settings: Settings) -> OpenTelemetry | None:
    """Who makes spans, if the settings want any. Raises ConfigError where the API is not installed."""
    if not settings.tracing:
        return None
    from openqueue.telemetry.tracing import OpenTelemetry

    return OpenTelemetry()


def listener_of(settings: Settings, database: Database, bus: Events, application: str) -> Listener:
    """Who hears that database's notifications; its session goes around a pooler if there is a way."""
    return Listener(
        settings.session_url.get_secret_value() if settings.session_url else url_of(settings),
        channel=database.schema,
        emit=bus.emit,
        application=application,
        pooled=database.target.pooled and settings.listen_dsn is None,
        statements=database.statements,
    )
