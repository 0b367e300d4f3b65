"""Runs one attempt: a job in, an outcome out. No database in it.

Every way a task can leave ends in `runs.outcomes.decide`. Synchronous tasks run in threads, with the context
variables of the caller; a thread cannot be cancelled, so one that does not end soon after it was told to is
left behind and reported. Those with `executor="process"` run in a process, which can be killed. Around each
of them goes the middleware; without any, nothing of it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from openqueue.clock import DatabaseTime
from openqueue.codec import decode
from openqueue.errors import OpenQueueError, RunNotFound
from openqueue.events import Emit, Events
from openqueue.runs.outcomes import RELEASED, Outcome, TimedOut, completed, decide
from openqueue.tasks.context import Context
from openqueue.tasks.enqueuer import Enqueuer
from openqueue.tasks.middleware import CallNext, in_order
from openqueue.tasks.options import TaskOptions
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.worker.events import RunStarted, ThreadAbandoned
from openqueue.worker.job import PATIENCE, Job
from openqueue.worker.probation import Probation
from openqueue.worker.processes.in_process import Written, read, run_in_process
from openqueue.worker.processes.orders import order_of
from openqueue.worker.processes.remote import with_description
from openqueue.worker.storing.journal import Journal, RunJournal, Spread
from openqueue.worker.surroundings import Surroundings
from openqueue.worker.threads import Call, Threads

__all__ = ["Executor"]

FEWEST_LEFT_BEHIND: Final = 16
"""Threads that may be left behind, however few `threads` are; then new attempts wait for one to come back."""


class Executor:
    """Runs the tasks of a registry; at most `threads` synchronous ones at a time."""

    def __init__(
        self,
        registry: Registry,
        *,
        journal: RunJournal,
        enqueuer: Enqueuer | None = None,
        namespace: str = "default",
        threads: int = 16,
        before: Callable[[Job], Awaitable[bool]] | None = None,
        largest_output: int = 1024 * 1024,
        emit: Emit | None = None,
        bus: Events | None = None,
        surroundings: Surroundings | None = None,
        clock: DatabaseTime | None = None,
    ) -> None:
        self.clock = clock or DatabaseTime()
        self._registry = registry
        self._journal = journal
        self._enqueuer = enqueuer
        self._namespace = namespace
        self._largest_output = largest_output
        self._bus = bus or Events()
        self._emit = emit or self._bus.emit
        self.probation = Probation(before)
        around = surroundings or Surroundings()
        self._middleware, self._state, self._processes = around.middleware, around.state, around.processes
        self._capture_logs = around.capture_logs
        self._threads = Threads(most_left_behind=max(threads, FEWEST_LEFT_BEHIND))

    @property
    def abandoned(self) -> int:
        """Threads that did not end when told to, and have not since."""
        return self._threads.left_behind

    def release(self) -> None:
        """Take no more threads; those left behind are not waited for."""
        self._threads.close()

    async def close(self) -> None:
        """The same, and end the processes."""
        self.release()
        await self._processes.aclose()

    async def execute(self, job: Job) -> Outcome:
        """Run one attempt. Whatever leaves the task, a SystemExit too, is an outcome."""
        self.tell_started(job)
        try:
            if job.doubted:
                return await self._on_probation(job)
            if job.may_expire(self.clock) and not await self.probation.may_begin(job):
                return RELEASED
            return await self._attempt(job)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and self.is_thrown_away(job):
                raise
            outcome = self.decide(job, error)
            self.take_back_cancellation(job, error)
            return outcome
        finally:
            if job.lines is not None:
                job.lines.close()

    async def _on_probation(self, job: Job) -> Outcome:
        async with self.probation.of(job) as may_begin:
            return await self._attempt(job) if may_begin else RELEASED

    async def _attempt(self, job: Job) -> Outcome:
        task = self._registry.get(job.task)
        arguments = self.input_of(task, job)
        if task.in_process or self.has_middleware(task):
            value = await self._call_around(task, arguments, job)
        else:
            value = await self._call(task, arguments, job)
        return self.completed(task, value)

    def tell_started(self, job: Job) -> None:
        """Tell who wants to know that an attempt begins."""
        if self._bus.wants(RunStarted):
            row, due = job.row, job.row["run_at"]
            waited = max(((self.clock.now() or datetime.now(UTC)) - due).total_seconds(), 0.0)
            self._emit(RunStarted(job.id, job.task, row["queue"], row["attempt"], due, waited))

    def input_of(self, task: Task[..., Any], job: Job) -> dict[str, Any]:
        """The arguments of a run. Raises InvalidArguments and RequestMissing."""
        if job.row["input"] is None:
            raise RequestMissing(f"the request of run {job.id} is missing", run_id=job.id)
        return task.arguments.parse(job.row["input"])

    def has_middleware(self, task: Task[..., Any]) -> bool:
        """Whether anything goes around the task's attempts."""
        return bool(self._middleware or task.defaults.middleware)

    def completed(self, task: Task[..., Any], value: Any) -> Outcome:
        """The outcome of a run that returned this. Raises NotSerializable and TooLarge."""
        if isinstance(value, Written):
            return completed(value.text)
        return completed(task.arguments.dump_output(value, max_bytes=self._largest_output))

    def decide(self, job: Job, error: BaseException) -> Outcome:
        """What becomes of a run whose attempt has ended with this."""
        try:
            return self._decide(job, error)
        except BaseException as failure:  # noqa: BLE001  an error that cannot be described is still an end
            strange = f"{type(error).__qualname__}, which cannot be described ({type(failure).__qualname__})"
            return self._decide(job, RuntimeError(strange))

    def take_back_cancellation(self, job: Job, error: BaseException) -> None:
        """What was asked of the attempt that runs here has been done: it is not asked of the next one."""
        runner = asyncio.current_task()
        if job.asked is not None and isinstance(error, asyncio.CancelledError) and runner is not None:
            while runner.cancelling():
                runner.uncancel()

    @staticmethod
    def is_thrown_away(job: Job) -> bool:
        """Whether the attempt is not run by its runner, but closed because the event loop is gone."""
        try:
            return asyncio.current_task() is not job.runner
        except RuntimeError:
            return True

    def _decide(self, job: Job, error: BaseException) -> Outcome:
        known = job.task in self._registry and not isinstance(error, RequestMissing)
        options = self._registry.get(job.task).defaults if known else _NO_OPTIONS
        outcome = decide(options, job.row["attempt"], job.row["max_attempts"], error, job.asked)
        return with_description(outcome, error)

    async def _call(self, task: Task[..., Any], arguments: dict[str, Any], job: Job) -> Any:
        wanted = task.arguments.context_parameter
        if wanted is not None:
            arguments[wanted] = self.context(job)
        timeout = task.defaults.timeout
        if timeout is None:
            if task.is_async:
                return await task.function(**arguments)
            return await self._in_thread(task.function, arguments, job)
        seconds = timeout.total_seconds()
        limit = asyncio.timeout(seconds)
        return await self._within(limit, seconds, partial(self._run, task, arguments, job, limit), job)

    async def _within(self, limit: asyncio.Timeout, seconds: float, call: CallNext, job: Job) -> Any:
        try:
            async with limit:
                return await call()
        except TimeoutError as error:
            if not limit.expired():
                raise  # the task's own
            job.cancellation().set()
            raise TimedOut(f"{job.task} took longer than its timeout of {seconds:g} s") from error

    async def _call_around(self, task: Task[..., Any], arguments: dict[str, Any], job: Job) -> Any:
        """With middleware around it, or in a process."""
        context = self.context(job)
        if task.arguments.context_parameter is not None:
            arguments[task.arguments.context_parameter] = context
        return await self.call(task, arguments, job, context)

    async def call(
        self, task: Task[..., Any], arguments: dict[str, Any], job: Job, context: Context | None
    ) -> Any:
        """Call the function within its timeout; `context` is for middleware, if there is any."""
        seconds = task.defaults.timeout.total_seconds() if task.defaults.timeout else None
        limit = asyncio.timeout(seconds)
        around = (*self._middleware, *task.defaults.middleware)
        call: CallNext = partial(self._run, task, arguments, job, limit)
        if around and context is not None:
            call = in_order(around, context, partial(read, call) if task.in_process else call)
        return await (call() if seconds is None else self._within(limit, seconds, call, job))

    async def _run(
        self, task: Task[..., Any], arguments: dict[str, Any], job: Job, limit: asyncio.Timeout
    ) -> Any:
        if task.is_async:
            return await task.function(**arguments)
        if task.in_process:
            capture = task.defaults.capture_logs or self._capture_logs
            order = order_of(task, job, self._namespace, self._largest_output, capture)
            return await run_in_process(self._processes, task, order, job, limit, self._journal)
        return await self._in_thread(task.function, arguments, job)

    async def _in_thread(self, function: Callable[..., Any], arguments: dict[str, Any], job: Job) -> Any:
        context = copy_context()
        job.cancellation()
        call = await self._threads.start(partial(context.run, partial(function, **arguments)))
        try:
            await asyncio.shield(call.ended)
        except asyncio.CancelledError:
            job.cancellation().set()
            if not await self._ends_soon(call, job):
                raise
        return call.result()

    async def _ends_soon(self, call: Call, job: Job) -> bool:
        """Wait a little for a thread that was told to end, unless its time is over; else leave it behind."""
        try:
            if job.asked is not None:
                await asyncio.wait([call.ended], timeout=PATIENCE)
        finally:
            if not call.ended.done():
                self._threads.leave_behind(call)
                self._emit(ThreadAbandoned(job.id, job.task, "lost" if job.lost else job.asked or "timeout"))
        return call.ended.done()

    def context(self, job: Job, items: Sequence[Job] = ()) -> Context:
        """The Context of an attempt; of a call for several jobs, what it says is said of each of `items`."""
        row = job.row
        journal: Journal = Spread(self._journal, items) if items else self._journal
        return Context(
            run_id=job.id,
            task=job.task,
            queue=row["queue"],
            namespace=self._namespace,
            attempt=row["attempt"],
            max_attempts=row["max_attempts"],
            meta=decode(row["meta"]) if row["meta"] else None,
            tags=tuple(row["tags"] or ()),
            scheduled_at=row["run_at"],
            open_log=lambda: journal.open_log(job),
            emit_progress=lambda patch: journal.progress(job, patch),
            enqueuer=self._enqueuer,
            cancelled=job.cancellation(),
            loop=asyncio.get_running_loop(),
            state=self._state,
            items=tuple(map(self.context, items)),
        )


class RequestMissing(RunNotFound):
    """A job whose request is gone from history: it cannot be run."""


_NO_OPTIONS = TaskOptions(give_up_on=(OpenQueueError,))
"""For what fails before a task is known: an unknown name, a missing request."""
