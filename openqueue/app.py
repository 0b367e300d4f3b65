"""The composition root: the one file that builds a worker's object graph, from settings to running parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from openqueue import __version__
from openqueue.clients import client_of, database_of, listener_of, tracer_of, use_settings
from openqueue.cluster.leader import Leader
from openqueue.cluster.pruner import BATCH, Pruner
from openqueue.cluster.retention import Retention
from openqueue.cluster.statistics import Statistics
from openqueue.cluster.upkeep import upkeep
from openqueue.control.declared import publish
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.events import Events
from openqueue.scheduler.declared import DeclaredSchedules
from openqueue.scheduler.scheduler import Scheduler
from openqueue.service import Service
from openqueue.settings import Settings
from openqueue.tasks.discovery import discover
from openqueue.tasks.lifespans import Lifespan, declared_lifespans
from openqueue.tasks.middleware import Middleware, declared_middleware
from openqueue.tasks.naming import set_roots
from openqueue.tasks.registry import Registry
from openqueue.tasks.surrounding import surrounded
from openqueue.worker.limits import Limits
from openqueue.worker.processes.pool import Processes
from openqueue.worker.stopping import stopping_on_signals
from openqueue.worker.surroundings import Surroundings
from openqueue.worker.worker import Worker

__all__ = ["discover_tasks", "open_worker", "processes_of", "pruner_of", "run_worker"]


IDLE: Final = 3.0
"""Seconds after which a worker lets go of connections that it does not need: more than between two polls."""


def discover_tasks(settings: Settings) -> Registry:
    """The tasks that the settings name; the default directory may be missing where modules are given."""
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
    bus = bus or Events()
    set_roots(settings.dirs)
    idle = max(IDLE, 1.5 * settings.poll_interval.total_seconds())
    found = surrounded(registry or discover_tasks(settings))
    async with (
        database_of(settings, bus, "openqueue worker", idle=idle) as database,
        client_of(settings, database, bus) as client,
    ):
        await publish(database, settings.namespace, found, settings.controls)
        declared = DeclaredSchedules(database, found, settings.namespace, bus.emit)
        await declared.once()  # before it begins: one that drains may be gone at once
        listener = listener_of(settings, database, bus, "openqueue listener")
        yield Worker(
            database,
            listener,
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
                capture_logs=settings.capture_logs,
                tracer=tracer_of(settings),
            ),
            beside=_beside(settings, database, listener, declared, bus),
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
    stop = asyncio.Event()
    async with open_worker(settings, registry=registry, bus=bus) as worker:
        with stopping_on_signals(
            stop, worker.target, worker.statements, worker.id, worker.leaving
        ) as stopping:
            if started is not None:
                started(worker, stopping)
            await (worker.drain(stop) if once else worker.run(stop))
        return 1 if worker.unsaved else 0


def _beside(
    settings: Settings, database: Database, listener: Listener, declared: DeclaredSchedules, bus: Events
) -> Callable[[Worker], tuple[Service, ...]]:
    """What a worker does besides its work: for the others, for the schema, and, if it leads, for all."""
    duties: list[Service] = [
        Scheduler(database, listener, settings.namespace, bus.emit),
        Statistics(database, settings.namespace, bus.emit),
    ]
    if Retention.of(settings.retention):
        duties.append(pruner_of(settings, database, bus))

    def services(worker: Worker) -> tuple[Service, ...]:
        leader = Leader(
            database,
            listener,
            worker.id,
            settings.namespace,
            bus.emit,
            duties=duties,
            alone=lambda: not worker.pulse.others,
        )
        return leader, declared, *upkeep(database, bus.emit)

    return services


def pruner_of(settings: Settings, database: Database, bus: Events, *, batch: int = BATCH) -> Pruner:
    """Who prunes by what the settings say."""
    target = listener_of(settings, database, bus, "openqueue prune").target
    retention = Retention.of(settings.retention)
    return Pruner(database, target, settings.namespace, bus.emit, retention=retention, batch=batch)


def processes_of(settings: Settings) -> Processes:
    """The processes of a worker; a task in one of them enqueues to the worker's database."""
    opening = (
        use_settings.__module__,
        use_settings.__name__,
        (settings.model_copy(update={"pool_size": 1}),),
    )
    return Processes([opening])


def _limits(settings: Settings) -> Limits:
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
