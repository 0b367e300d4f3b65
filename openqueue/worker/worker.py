"""The worker process: its parts, and the rings in which they start and stop.

To stop is to leave the rings from the inside out: intake first, then what runs, then what must be stored,
and the heartbeat last, so that nobody takes the jobs away before their outcomes are known.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID, uuid4

from openqueue.clock import DatabaseTime
from openqueue.cluster.members import Member
from openqueue.cluster.rescuer import Rescuer
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.db.statements import Statements
from openqueue.db.target import Target
from openqueue.errors import OpenQueueError
from openqueue.events import Events
from openqueue.runs.client import Client
from openqueue.runs.outcomes import Outcome
from openqueue.service import Service, running
from openqueue.tasks.enqueuer import using
from openqueue.tasks.registry import Registry
from openqueue.worker.completer import Completer
from openqueue.worker.control import Control
from openqueue.worker.draining import drain, worked_off
from openqueue.worker.events import WorkerDraining, WorkerGivenUp, WorkerStarted, WorkerStopped
from openqueue.worker.executor import Executor
from openqueue.worker.hearing import Hearing
from openqueue.worker.heartbeat import Heartbeat, Pulse
from openqueue.worker.intake.claims import Claims
from openqueue.worker.intake.doorbell import Doorbell
from openqueue.worker.job import Job
from openqueue.worker.leases import Leases
from openqueue.worker.limits import Limits
from openqueue.worker.places import Places
from openqueue.worker.starter import Starter
from openqueue.worker.stopping import first_of
from openqueue.worker.storing.journal import RunJournal
from openqueue.worker.storing.tally import Tally
from openqueue.worker.surroundings import Surroundings
from openqueue.worker.watchdog import Watchdog

__all__ = ["Worker"]


class Worker:
    """Runs the tasks of a registry until told to stop.

    `database` is open and stays its owner's. `queues`: those to work on, each with the most to run of it at
    once or None; None: all. `name` shows in lists; by default host and process id. What
    `beside` answers runs for as long as it takes in work.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener,
        registry: Registry,
        *,
        client: Client | None = None,
        namespace: str = "default",
        name: str | None = None,
        queues: Mapping[str, int | None] | None = None,
        limits: Limits | None = None,
        bus: Events | None = None,
        version: str = "",
        surroundings: Surroundings | None = None,
        beside: Callable[[Worker], Sequence[Service]] = lambda _: (),
    ) -> None:
        self.id: UUID = uuid4()
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._database = database
        self._listener = listener
        self._registry = registry
        self._client = client or Client(database, namespace=namespace)
        self._namespace = namespace
        self._queues = dict(queues or {}) or None
        self._limits = limits or Limits()
        self._bus = bus or Events()
        self._surroundings = surroundings or Surroundings()
        self._beside = beside
        self._member = Member(
            database,
            self.id,
            namespace=namespace,
            name=self.name,
            version=version,
            queues=list(queues or ()) or None,
            concurrency=self._limits.concurrency,
        )
        self._assemble()

    @property
    def client(self) -> Client:
        """The client through which its tasks enqueue."""
        return self._client

    @property
    def target(self) -> Target:
        """Where sessions of its own are opened: the listener's, which no pooler stands before."""
        return self._listener.target

    @property
    def statements(self) -> Statements:
        """The named statements of its schema."""
        return self._database.statements

    @property
    def ready(self) -> bool:
        """Whether it takes in work and has been heard by the database lately."""
        recent = time.monotonic() - self.pulse.beaten < 2 * self._limits.heartbeat + 5
        return bool(self.pulse.beaten) and recent and not self.pulse.draining

    @property
    def unsaved(self) -> int:
        """Outcomes that could not be stored before the process had to end."""
        return self._completer.unsaved

    @property
    def abandoned(self) -> int:
        """Threads of tasks that did not end when told to."""
        return self._executor.abandoned

    def leaving(self) -> None:
        """It is about to be said, from another thread, that it has gone: it does not appear again."""
        self.pulse.leaving = True

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish in good order."""
        async with self._rings():
            await stop.wait()

    async def drain(self, stop: asyncio.Event | None = None) -> None:
        """Work until nothing is ready (or `stop` is set), then finish; what is scheduled is left."""
        async with self._rings():
            await first_of(worked_off(self._completer, self._producers), (stop or asyncio.Event()).wait())

    @asynccontextmanager
    async def _rings(self) -> AsyncIterator[None]:
        with using(self._client, self._client.sync):
            async with (
                self._surroundings.open(self._bus),
                self._present(),
                running(self._heartbeat(), Watchdog(self._places.calls, self._bus.emit)),
                self._completer.storing(),
                self._hearing.open(),
                running(self._listener, self._starter, self._leases),
                self._draining(),
                running(*self._intake, *self._beside(self)),
            ):
                queues, places = tuple(self._queues or ()), self._limits.concurrency
                self._bus.emit(WorkerStarted(self.id, self.name, len(self._registry), queues, places))
                yield

    def _assemble(self) -> None:
        """Make the parts and join them; nothing runs yet."""
        limits, bus = self._limits, self._bus
        journal, self._clock = RunJournal(), DatabaseTime()
        self._tally = Tally(self._clock)
        self._completer = Completer(
            *(self._database, self.id, journal, bus),
            last_flush=limits.last_flush,
            lost=self._lose,
            tally=self._tally,
            next_claim=lambda: None if self.pulse.draining else self._places.next_claim(),
        )
        claims = Claims()
        looks = self._running, self._busy, claims.brought
        self._starter = Starter(self._database, self.id, *looks, self._lose, bus.emit)
        self._hearing = Hearing(self._registry, journal, self._surroundings.capture_logs)
        self._executor = Executor(
            self._registry,
            journal=journal,
            enqueuer=self._client,
            namespace=self._namespace,
            threads=limits.threads,
            before=self._starter.before,
            largest_output=limits.largest_output,
            bus=bus,
            surroundings=self._surroundings,
            clock=self._clock,
        )
        self._doorbell = Doorbell(
            self._database, self.id, self._namespace, list(self._queues) if self._queues else None, bus.emit
        )
        self._places = Places(
            *(self._database, self.id, self._registry, self._executor, self._completer, self._doorbell),
            *(claims, self._ended),
            client=self._client,
            queues=self._queues,
            limits=limits,
            namespace=self._namespace,
            emit=bus.emit,
            hear=self._hearing.hear,
            tracer=self._surroundings.tracer,
        )
        self._leases = Leases(self._database, self.id, self._places.held, self._lose, bus.emit)
        self._producers, self._watches = self._places.producers, self._places.watches
        self._control = Control(self.id, self._places.everywhere, self._completer, bus.emit)
        self.pulse = Pulse(claims=self._claims_in_flight, running=self._places.count)
        self._rescuer = Rescuer(
            self._database,
            self.id,
            bus.emit,
            others=lambda: self.pulse.others,
            gone=timedelta(seconds=limits.gone),
            frozen=timedelta(seconds=limits.lease),
        )
        self._intake: list[Service] = [*self._producers, *self._watches, self._doorbell, self._rescuer]
        self._listener.subscribe(self._doorbell.hear)
        self._listener.subscribe(self._control.hear)
        self._listener.on_connected(self._doorbell.look)
        self._listener.on_connected(self._database.outage.over)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            self._listener.target,
            self._database.statements,
            self.id,
            self.pulse,
            self._bus.emit,
            appearing=self._member.appearing,
            every=self._limits.heartbeat,
            lease=self._limits.lease,
            timeout=self._database.timeout + 5,
            cancelled=self._control.cancel,
            given_up=self._given_up,
            back=self._back,
            namespace=self._namespace,
            tally=self._tally,
            clock=self._clock,
        )

    @asynccontextmanager
    async def _present(self) -> AsyncIterator[None]:
        try:
            async with self._member.present(self._registry):
                try:
                    yield
                finally:
                    with suppress(OpenQueueError):  # a little less is counted then
                        await self._tally.flush(self._database, self.id, self._namespace)
        finally:
            await self._executor.close()
            self._bus.emit(WorkerStopped(self.id, self._member.released, self.unsaved))

    @asynccontextmanager
    async def _draining(self) -> AsyncIterator[None]:
        """On leaving: what has not begun goes back; what runs has its grace, then is cancelled, then left."""
        try:
            yield
        finally:
            self.pulse.draining = True
            self._bus.emit(WorkerDraining(self.id, self._places.count(), self._limits.grace))
            await drain(
                self._producers, self._places.pools, self._control, self._limits.grace, self._bus.emit
            )

    def _ended(self, job: Job, outcome: Outcome) -> None:
        self._completer.ended(job, outcome)
        if self._queues:  # a queue may have been at its bound
            self._places.wake()

    def _running(self) -> list[Job]:
        return self._places.running()

    def _busy(self) -> bool:
        return self._places.busy

    def _claims_in_flight(self) -> list[int]:
        return [*self._places.claims.pending.copy(), *self._completer.claims()]

    def _lose(self, job: Job) -> None:
        self._control.lose(job)

    def _back(self) -> None:
        self._database.cut_off_idle()
        self._database.outage.over()
        self._listener.try_now()

    def _given_up(self) -> None:
        self._bus.emit(WorkerGivenUp(self.id, self._places.count()))
        self._leases.doubt()
        self._doorbell.doubt()
