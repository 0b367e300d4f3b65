"""The places of a worker: a pool for each kind of task, and the producers that fill them.

Kinds are where a task runs: in the event loop, in threads, in processes. A task with `batch=` runs in the
pool of its kind, and has a producer of its own, since one place there holds many of its jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.events import Emit
from openqueue.runs.client import Client
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.worker.batches import Batches
from openqueue.worker.completer import Completer
from openqueue.worker.executor import Executor
from openqueue.worker.inflight import Ended, Execute, Inflight
from openqueue.worker.intake.claims import Claims
from openqueue.worker.intake.doorbell import Doorbell
from openqueue.worker.intake.gathering import Gathering
from openqueue.worker.job import Job
from openqueue.worker.limits import Limits
from openqueue.worker.one_place import Hear
from openqueue.worker.producer import Producer
from openqueue.worker.standstill import Standstill
from openqueue.worker.traced import AttemptTracer, Traced

__all__ = ["Places"]

Named = tuple[str, Task[..., Any]]

PATIENCE: Final = 1.0
"""Seconds more than the poll floor after which places that wait in vain are told of."""


class Places:
    """The pools, what gathers for them, their producers and watches.

    `ended` hears how each job ended, and `hear` what it logs.
    """

    def __init__(
        self,
        database: Database,
        worker: UUID,
        registry: Registry,
        executor: Executor,
        completer: Completer,
        doorbell: Doorbell,
        claims: Claims,
        ended: Ended,
        *,
        hear: Hear,
        client: Client,
        queues: dict[str, int | None] | None,
        limits: Limits,
        namespace: str,
        emit: Emit,
        tracer: AttemptTracer | None = None,
    ) -> None:
        self.claims = claims
        self.pools: list[Inflight] = []
        self.gatherings: list[Gathering] = []
        self.producers: list[Producer] = []
        self.watches: list[Standstill] = []
        self._database = database
        self._worker = worker
        self._registry = registry
        self._executor = executor
        self._completer = completer
        self._doorbell = doorbell
        self._ended = ended
        self._hear = hear
        self._client = client
        self._queues = queues
        self._limits = limits
        self._namespace = namespace
        self._emit = emit
        self._tracer = tracer
        every = [(name, registry.get(name)) for name in registry.every_name]
        self._add_pool([one for one in every if one[1].is_async], limits.concurrency)
        self._add_pool([one for one in every if one[1].in_thread], limits.threads)
        self._add_pool([one for one in every if one[1].in_process], limits.processes)

    @property
    def everywhere(self) -> list[Inflight | Gathering]:
        """Wherever a job may be."""
        return [*self.pools, *self.gatherings]

    def running(self) -> list[Job]:
        """The jobs under way, each of those that are one call by itself."""
        return [job for pool in self.pools for one in pool.running for job in one.jobs]

    def calls(self) -> list[Job]:
        """What has a place: attempts, and calls for several."""
        return [one for pool in self.pools for one in pool.running]

    def count(self) -> int:
        """How many places are taken; may be asked from another thread."""
        return sum(len(pool.running) for pool in self.pools)

    @property
    def busy(self) -> bool:
        """Whether any job is here, running or not."""
        return any(one.busy for one in self.everywhere)

    def held(self) -> list[Job]:
        """Every job that is here, running or not."""
        return [job for one in self.everywhere for job in one.held]

    def in_queue(self, queue: str) -> int:
        """How many jobs of a queue are here."""
        return sum(one.in_queue(queue) for one in self.everywhere)

    def wake(self) -> None:
        """There may be work that could not be taken before."""
        for producer in self.producers:
            producer.wake()

    def next_claim(self) -> Callable[[], None] | None:
        """`wake`, if limits or the like hold and there is room: what ends here lets others begin here."""
        governed = any(producer.governed for producer in self.producers)
        return self.wake if governed and any(pool.room()[0] > 0 for pool in self.pools) else None

    def _add_pool(self, tasks: list[Named], places: int) -> None:
        if not tasks:
            return
        batches = {id(task): task for _, task in tasks if task.defaults.batch is not None}
        pool = self._make_pool(places, together=bool(batches))
        names = [name for name, _ in tasks]
        patience = self._limits.poll + PATIENCE
        self.pools.append(pool)
        self.watches.append(Standstill(pool, names, self._queues, self._client.get, self._emit, patience))
        self._add_producer(pool, [name for name, task in tasks if task.defaults.batch is None])
        for task in batches.values():
            if task.defaults.batch is not None:
                gathering = Gathering(pool, task.defaults.batch)
                self.gatherings.append(gathering)
                self._add_producer(gathering, [name for name, one in tasks if one is task])

    def _make_pool(self, places: int, *, together: bool) -> Inflight:
        if not together:
            return Inflight(places, self._traced(self._executor.execute), self._ended, self._hear)
        batches = Batches(self._registry, self._executor, self._ended)
        return Inflight(places, self._traced(batches.execute), batches.ended, self._hear)

    def _traced(self, execute: Execute) -> Execute:
        if self._tracer is None:
            return execute
        return Traced(self._tracer, execute, self._executor.context).execute

    def _add_producer(self, pool: Inflight | Gathering, tasks: Iterable[str]) -> None:
        names = list(tasks)
        if not names:
            return
        self.producers.append(
            Producer(
                self._database,
                self._worker,
                self.claims,
                pool,
                self._completer,
                self._doorbell,
                tasks=names,
                queues=self._queues,
                in_queue=self.in_queue,
                namespace=self._namespace,
                poll=self._limits.poll,
                emit=self._emit,
            )
        )
