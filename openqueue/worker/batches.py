"""Runs one call for many runs: each gets an outcome of its own.

An input that does not fit fails its own run, and the others are called without it. Where the call as a whole
ends badly (an exception, a timeout, an answer that is no list of one result for each), all of them have
failed, each by its own attempts. A run that was cancelled meanwhile is cancelled, whatever the call says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import NoneType
from typing import Any

from openqueue.errors import UnexpectedResult
from openqueue.runs.outcomes import RELEASED, Outcome
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task
from openqueue.worker.executor import Executor
from openqueue.worker.inflight import Ended
from openqueue.worker.job import Gathered, Job

__all__ = ["Batches"]


class Batches:
    """What a pool calls where some of its tasks have `batch=`; all others go to the executor as they are."""

    def __init__(self, registry: Registry, executor: Executor, ended: Ended) -> None:
        self._registry = registry
        self._executor = executor
        self._ended = ended

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job has ended, or a call: then each of its jobs has."""
        if not isinstance(job, Gathered):
            self._ended(job, outcome)
            return
        for one in job.jobs:
            one.finished_at = job.finished_at
            self._ended(one, job.outcomes.get(one, outcome))

    async def execute(self, job: Job) -> Outcome:
        """Run an attempt, or a call: then the outcomes are those of its jobs."""
        if isinstance(job, Gathered):
            await self._run(job, job.outcomes)
            return RELEASED  # of those that did not begin
        if job.task in self._registry and self._registry.get(job.task).defaults.batch is not None:
            outcomes: dict[Job, Outcome] = {}
            await self._run(job, outcomes)
            return outcomes.get(job, RELEASED)
        return await self._executor.execute(job)

    async def _run(self, call: Job, outcomes: dict[Job, Outcome]) -> None:
        executor = self._executor
        for job in call.jobs:
            job.started_at = call.started_at
            executor.tell_started(job)
        try:
            if call.doubted:
                async with executor.probation.of(call) as may_begin:
                    await self._call([call] if may_begin else [], call, outcomes)
            else:
                await self._call(await self._beginning(call), call, outcomes)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and executor.is_thrown_away(call):
                raise
            self._all_ended([job for job in call.jobs if job not in outcomes], call, error, outcomes)
            executor.take_back_cancellation(call, error)
        for job in call.jobs:
            if job.lines is not None:
                job.lines.close()
            if job.asked == "cancel" and job in outcomes:
                outcomes[job] = Outcome("cancelled")

    async def _beginning(self, call: Job) -> list[Job]:
        """Those that may begin: the database is asked of those whose deadline is near."""
        near = [job for job in call.jobs if job.may_expire(self._executor.clock)]
        if not near:
            return list(call.jobs)
        for job in near:
            job.doubted = True  # those who ask have not begun to
        may = dict(
            zip(near, await asyncio.gather(*map(self._executor.probation.may_begin, near)), strict=True)
        )
        return [job for job in call.jobs if may.get(job, True)]

    async def _call(self, jobs: list[Job], call: Job, outcomes: dict[Job, Outcome]) -> None:
        task = self._registry.get(call.task)
        items: dict[Job, Any] = {}
        for job in jobs:
            try:
                items[job] = _item(self._executor.input_of(task, job))
            except Exception as error:  # noqa: BLE001  whatever a validator raises is this run's own fault
                outcomes[job] = self._executor.decide(job, error)
        if not items:
            return
        taken = list(items)
        if isinstance(call, Gathered):
            call.called = taken
        try:
            answers = _checked(task, await self._answers(task, list(items.values()), taken, call), len(taken))
        except BaseException as error:
            if isinstance(error, GeneratorExit):
                raise
            self._all_ended(taken, call, error, outcomes)
            self._executor.take_back_cancellation(call, error)
            return
        for job, answer in zip(taken, answers, strict=True):
            outcomes[job] = self._outcome(task, job, answer)

    async def _answers(self, task: Task[..., Any], items: list[Any], jobs: list[Job], call: Job) -> Any:
        (parameter,) = task.arguments.contract.signature.parameters
        arguments: dict[str, Any] = {parameter.name: items}
        wanted = task.arguments.context_parameter
        context = None
        if wanted is not None or self._executor.has_middleware(task):
            context = self._executor.context(call, jobs)
        if wanted is not None:
            arguments[wanted] = context
        return await self._executor.call(task, arguments, call, context)

    def _all_ended(
        self, jobs: Sequence[Job], call: Job, error: BaseException, outcomes: dict[Job, Outcome]
    ) -> None:
        if len(call.jobs) > 1:
            _note(error, f"openqueue: the call was for {len(call.jobs)} runs, and this is the end of each.")
        for job in jobs:
            job.asked = job.asked or call.asked
            outcomes[job] = self._executor.decide(job, error)

    def _outcome(self, task: Task[..., Any], job: Job, answer: Any) -> Outcome:
        if isinstance(answer, BaseException):
            return self._executor.decide(job, answer)
        try:
            return self._executor.completed(task, answer)
        except Exception as error:  # noqa: BLE001  a result that cannot be stored fails its own run
            return self._executor.decide(job, error)


def _item(arguments: dict[str, Any]) -> Any:
    (item,) = arguments.values()
    return item


def _checked(task: Task[..., Any], answer: Any, count: int) -> Sequence[Any]:
    """One answer for each of `count` items. Raises UnexpectedResult."""
    if answer is None and task.arguments.contract.signature.returns is NoneType:
        return [None] * count
    wanted = (
        f"{task.name} has batch= and was called with {count} items: it must return a list of {count} results"
    )
    if not isinstance(answer, list | tuple):
        raise UnexpectedResult(
            f"{wanted}, one for each in the same order, and not {type(answer).__name__}. All of them failed."
        )
    if len(answer) != count:
        raise UnexpectedResult(
            f"{wanted}, one for each in the same order, and not {len(answer)}. All of them failed."
        )
    return answer


def _note(error: BaseException, note: str) -> None:
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
