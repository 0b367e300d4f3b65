"""Running what is ready, here and now: one attempt after the other, without a worker process.

The parts that decide are a worker's own: `claim_jobs` says which run is next, the executor runs it, with its
timeout and its threads, `decide` says what its end means and the completer stores that. Left out is what a
test has no use for: heartbeats, notifications, claiming ahead. So the order is that of the queue, each time.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, overload
from uuid import UUID, uuid4

from openqueue.codec import decode
from openqueue.errors import RunFailed, UnexpectedState, UnknownTask, did_you_mean
from openqueue.events import Events
from openqueue.runs.client import Client
from openqueue.runs.outcomes import Outcome
from openqueue.tasks.captured import Capture
from openqueue.tasks.declared import declared
from openqueue.tasks.enqueuer import Enqueuer, sync_enqueuer, using
from openqueue.tasks.lifespans import Lifespans, State, declared_lifespans
from openqueue.tasks.middleware import declared_middleware
from openqueue.tasks.places import place
from openqueue.tasks.registry import Registry
from openqueue.tasks.surrounding import surrounded
from openqueue.worker.batches import Batches
from openqueue.worker.completer import Completer
from openqueue.worker.events import RunFinished
from openqueue.worker.executor import Executor
from openqueue.worker.hearing import Hearing
from openqueue.worker.job import Gathered, Job
from openqueue.worker.one_place import OnePlace, Waits
from openqueue.worker.processes.pool import Processes
from openqueue.worker.storing.busy import Ended
from openqueue.worker.storing.journal import RunJournal
from openqueue.worker.subscribers import attended
from openqueue.worker.surroundings import Surroundings

__all__ = ["Drain", "Drained", "Ran"]

_claims = itertools.count(time.time_ns() // 1000)


@dataclass(frozen=True, slots=True)
class Ran:
    """One attempt that `drain` ran.

    outcome   completed, failed (for good), retry (failed, and will be tried again), snoozed, cancelled
    output    what the task returned, as JSON knows it
    error     what the task raised, or what was wrong with its arguments or its result
    """

    id: UUID
    task: str
    attempt: int
    outcome: str
    output: Any = None
    error: BaseException | None = None


class Drained(Sequence[Ran]):
    """The attempts that a drain ran, in order."""

    __slots__ = ("_ran",)

    def __init__(self, ran: Sequence[Ran]) -> None:
        self._ran = list(ran)

    @property
    def errors(self) -> list[BaseException]:
        """What the attempts that failed raised, for good or to be tried again."""
        return [one.error for one in self._ran if one.error is not None and one.outcome in _FAILURES]

    def count(self, value: Any) -> int:
        """How many attempts ended so ('completed', 'failed', 'retry', 'snoozed', 'cancelled')."""
        return sum(1 for one in self._ran if value in (one.outcome, one))

    @overload
    def __getitem__(self, place: int) -> Ran: ...
    @overload
    def __getitem__(self, place: slice) -> list[Ran]: ...
    def __getitem__(self, place: int | slice) -> Ran | list[Ran]:
        return self._ran[place]

    def __len__(self) -> int:
        return len(self._ran)

    def __iter__(self) -> Iterator[Ran]:
        return iter(self._ran)

    def __repr__(self) -> str:
        return f"<ran {', '.join(f'{one.task}: {one.outcome}' for one in self._ran) or 'nothing'}>"


_FAILURES = frozenset({"failed", "retry"})


class Drain:
    """Runs the ready runs of the tasks declared in this process.

    `enqueuer` takes what these runs enqueue; `discover` imports the modules that the settings name: it is
    asked when a run of a task is ready that nothing imported so far declares.
    """

    def __init__(
        self,
        client: Client,
        enqueuer: Enqueuer,
        discover: Callable[[], object],
        *,
        largest_output: int,
        processes: Processes,
        capture_logs: Capture = "info",
    ) -> None:
        self._client = client
        self._enqueuer = enqueuer
        self._discover = discover
        self._largest_output = largest_output
        self._processes = processes
        self._capture_logs = capture_logs
        self._state = State()
        self._worker = uuid4()
        self._journal = RunJournal()
        self._stored: dict[UUID, RunFinished] = {}
        self._bus = Events()
        self._bus.subscribe(RunFinished, lambda event: self._stored.update({event.run_id: event}))
        self._completer = Completer(client.database, self._worker, self._journal, self._bus)
        self._registry = declared_tasks()
        self._discovered = False

    async def run(self, *, queue: str | None, raises: bool, limit: int) -> Drained:
        """Run until nothing is ready, what these runs enqueue included.

        Raises what the first attempt that failed raised (with `raises`), UnknownTask for a run of a task
        that is not declared here, UnexpectedState after `limit` attempts.
        """
        ran: list[Ran] = []
        with using(self._enqueuer, sync_enqueuer()):
            async with (
                attended(self._bus),
                Lifespans(self._state) as self._lifespans,
                aclosing(self._processes),
                aclosing(self._attempts(queue, raises=raises)) as attempts,
            ):
                async for one in attempts:
                    ran.append(one)
                    if raises and one.outcome in _FAILURES and one.error is not None:
                        raise one.error
                    if len(ran) > limit:
                        raise UnexpectedState(
                            f"drain has run {limit} attempts, and more are ready (the last one: {one.task}):"
                            " do tasks enqueue each other for ever? If not, give a higher limit=.",
                            run_id=one.id,
                        )
        return Drained(ran)

    async def _attempts(self, queue: str | None, *, raises: bool) -> AsyncGenerator[Ran, None]:
        while True:
            job = await self._claim(queue, list(self._registry.every_name))
            if job is not None:
                for ran in await self._attempt(await self._gather(job, queue)):
                    yield ran
            elif not await self._learns(queue, raises=raises):
                return

    async def _gather(self, job: Job, queue: str | None) -> Job:
        """The job; where its task has `batch=` together with others that are ready."""
        task = self._registry.get(job.task)
        if task.defaults.batch is None:
            return job
        jobs = [job]
        names = [task.name, *task.defaults.aliases]
        while len(jobs) < task.defaults.batch.size and (more := await self._claim(queue, names)):
            jobs.append(more)
        return Gathered(jobs)

    async def _claim(self, queue: str | None, names: list[str]) -> Job | None:
        claim = next(_claims)
        *rows, _ = await self._client.database.fetch(
            "testing_claim",
            self._worker,
            claim,
            names,
            queue,
            self._client.namespace,
        )
        if not rows:
            return None
        self._completer.claimed(claim, len(rows))
        return Job(rows[0], claim)

    async def _attempt(self, job: Job) -> list[Ran]:
        """One attempt or call in an asyncio task of its own: the context variables it sets end with it."""
        await self._lifespans.enter(declared_lifespans())
        executor = self._make_executor()
        ended: list[Ended] = []
        batches = Batches(self._registry, executor, lambda *one: ended.append(one))

        hearing = Hearing(self._registry, self._journal, self._capture_logs)

        async def execute() -> None:
            place.set(OnePlace(job, Waits(), hearing.hear))
            outcome = await batches.execute(job)
            job.finished_at = time.monotonic()
            batches.ended(job, outcome)

        job.started_at = time.monotonic()
        job.runner = asyncio.create_task(execute(), name=f"openqueue:{job.task}")
        try:
            async with hearing.open():
                await asyncio.wait([job.runner])
        except asyncio.CancelledError:
            job.interrupt()
            await asyncio.wait([job.runner])
            raise
        finally:
            executor.release()
        job.runner.result()
        for one, outcome in ended:
            self._completer.ended(one, outcome)
        await self._completer.once()
        return [self._told(one, outcome, executor.errors.get(one)) for one, outcome in ended]

    def _told(self, job: Job, outcome: Outcome, error: BaseException | None) -> Ran:
        """What became of an attempt, as it was stored: the database may refuse a result."""
        stored = self._stored.pop(job.id, None)
        kind: str = stored.outcome if stored else outcome.kind
        if kind in _FAILURES and error is None and stored is not None and stored.error is not None:
            described = decode(stored.error)
            message = f"Run {job.id} of {job.task} failed: {described['type']}: {described['message']}"
            error = RunFailed(message, run_id=job.id, error=described)
        if error is not None and kind in _FAILURES:
            error.add_note(f"openqueue: run {job.id} of {job.task}, attempt {job.row['attempt']}: {kind}")
        output = decode(outcome.output) if kind == "completed" and outcome.output else None
        return Ran(job.id, job.task, job.row["attempt"], kind, output, error)

    async def _learns(self, queue: str | None, *, raises: bool) -> bool:
        """Whether there is more to run after all: ready runs of tasks that are only now imported."""
        unknown = await self._unknown(queue)
        if unknown and not self._discovered:
            self._discovered = True
            self._discover()
            self._registry = declared_tasks()
            known = [name for name in unknown if name in self._registry]
            if known:
                return True
        if unknown and raises:
            raise UnknownTask(
                f"A run of {unknown[0]!r} is ready, but no task of that name is declared in this process."
                f"{did_you_mean(unknown[0], self._registry.every_name)} Import its module in the test,"
                " or name it in the settings (`dirs`, `modules`).",
                task=unknown[0],
            )
        return False

    async def _unknown(self, queue: str | None) -> list[str]:
        names = list(self._registry.every_name)
        rows = await self._client.database.fetch("testing_unknown", names, queue, self._client.namespace)
        return [row["task"] for row in rows]

    def _make_executor(self) -> Attentive:
        return Attentive(
            self._registry,
            journal=self._journal,
            enqueuer=self._enqueuer,
            namespace=self._client.namespace,
            largest_output=self._largest_output,
            bus=self._bus,
            surroundings=Surroundings(
                declared_middleware(), (), self._processes, self._state, self._capture_logs
            ),
        )


class Attentive(Executor):
    """An executor that keeps the errors its attempts end with: a test wants the exception itself."""

    def __init__(self, registry: Registry, **parts: Any) -> None:
        super().__init__(registry, **parts)
        self.errors: dict[Job, BaseException] = {}

    def decide(self, job: Job, error: BaseException) -> Outcome:
        self.errors[job] = error
        return super().decide(job, error)


def declared_tasks() -> Registry:
    """The tasks declared in this process; of several of one name the latest, as tests declare them anew."""
    registry = Registry()
    for task in reversed(declared()):
        if not any(name in registry for name in (task.name, *task.defaults.aliases)):
            registry.add(task)
    return surrounded(registry)
