"""A span around each attempt, where the program wants traces; `telemetry.tracing` makes them.

It goes around all that an attempt is, from its input to its outcome, so that it says of each what the
history says: one that was refused before its task began, one that took too long, one whose lease was lost.
While tracing is off nothing of it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import ParamSpec, Protocol, TypeVar

from openqueue.runs.outcomes import Outcome
from openqueue.tasks.context import Context
from openqueue.worker.inflight import Execute
from openqueue.worker.job import Gathered, Job

__all__ = ["AttemptTracer", "Attempting", "End", "Traced"]

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("openqueue.tracing")

End = tuple[str, str | None]
"""How the attempt of a run ended: the kind of its outcome, `lost` or `expired`; and its error, as JSON."""


class Attempting(Protocol):
    """An attempt under way, of one run or of several."""

    def ended(self, ends: Sequence[End], /) -> None:
        """It is over; for each of its runs."""
        ...


class AttemptTracer(Protocol):
    """Makes spans."""

    def attempting(self, ctx: Context, /, *, rescued: bool) -> AbstractContextManager[Attempting]:
        """The span of an attempt; `rescued`: a worker was lost with the run before."""
        ...


class Traced:
    """What a pool calls instead of `execute`, which it wraps; `context` is how a job is told to others.

    A tracer that fails never fails an attempt: its first failure is logged, later ones are silent.
    """

    def __init__(
        self, tracer: AttemptTracer, execute: Execute, context: Callable[[Job, Sequence[Job]], Context]
    ) -> None:
        self._tracer = tracer
        self._execute = execute
        self._context = context
        self._failed = False

    async def execute(self, job: Job) -> Outcome:
        """Run an attempt, or a call for several runs, within a span."""
        span = ExitStack()
        attempt = self._try(self._begin, job, span)
        try:
            outcome = await self._execute(job)
            if attempt is not None:
                self._try(attempt.ended, [_end(one, outcome) for one in job.jobs])
        finally:
            self._try(span.close)
        return outcome

    def _begin(self, job: Job, span: ExitStack) -> Attempting:
        context = self._context(job, job.jobs if isinstance(job, Gathered) else ())
        rescued = any(one.row["suspect"] for one in job.jobs)
        return span.enter_context(self._tracer.attempting(context, rescued=rescued))

    def _try(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return call(*args, **kwargs)
        except Exception:  # noqa: BLE001  whatever the program's exporters and samplers raise
            if not self._failed:
                self._failed = True
                _log.exception("tracing failed, and attempts go on without it")
            return None


def _end(job: Job, outcome: Outcome) -> End:
    if job.within is not None:
        outcome = job.within.outcomes.get(job, outcome)
    if job.expired or job.lost:
        return "expired" if job.expired else "lost", None
    return outcome.kind, outcome.error
