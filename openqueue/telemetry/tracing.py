"""Traces by OpenTelemetry: from the enqueue to every attempt, whichever process it is in.

An enqueue is a span of kind PRODUCER; its context goes with the run, and each attempt is a CONSUMER that is
its child. An attempt of several runs (`batch=`) is linked to each of theirs. Attributes are those of the
semantic conventions for messaging, and `openqueue.*`. Only the API is used: where the spans go is the
program's business, which sets a TracerProvider (by the SDK, or by `opentelemetry-instrument`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from openqueue import __version__
from openqueue.codec import decode
from openqueue.errors import ConfigError
from openqueue.runs.model import Run
from openqueue.tasks.carrier import carried
from openqueue.tasks.context import Context
from openqueue.tasks.enqueuer import Item
from openqueue.worker.traced import End

if TYPE_CHECKING:
    from opentelemetry.context import Context as TraceContext
    from opentelemetry.trace import Span, Status

__all__ = ["OpenTelemetry"]

R = TypeVar("R")

_SYSTEM = {"messaging.system": "openqueue"}


class OpenTelemetry:
    """Makes spans by the program's TracerProvider. Raises ConfigError where the API is not installed."""

    def __init__(self) -> None:
        try:
            from opentelemetry import propagate, trace
        except ImportError:
            raise ConfigError(
                "tracing: opentelemetry-api is not installed. Install it (pip install"
                " 'openqueue[tracing]'), or"
                " leave tracing off."
            ) from None
        self._trace = trace
        self._propagate = propagate
        self._tracer = trace.get_tracer("openqueue", __version__)

    @contextmanager
    def enqueueing(self, item: Item[Any] | None, /) -> Iterator[_Sending]:
        """The span of an enqueue."""
        attributes: dict[str, Any] = {
            **_SYSTEM,
            "messaging.operation.name": "enqueue",
            "messaging.operation.type": "send",
        }
        if item is not None:
            attributes |= {"openqueue.task": item.task, **_destination(item)}
        with self._tracer.start_as_current_span(
            f"enqueue {item.task}" if item is not None else "enqueue",
            kind=self._trace.SpanKind.PRODUCER,
            attributes=attributes,
        ) as span:
            carrier: dict[str, str] = {}
            self._propagate.inject(carrier)
            yield _Sending(span, carrier)

    @contextmanager
    def attempting(self, ctx: Context, /, *, rescued: bool) -> Iterator[_Attempt]:
        """The span of an attempt."""
        parent, links = self._origin([one.carrier for one in ctx.items])
        attributes = {**_attempt(ctx), **({"openqueue.rescued": True} if rescued else {})}
        with self._tracer.start_as_current_span(
            f"run {ctx.task}",
            context=parent,
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
        ) as span:
            yield _Attempt(span, partial(self._trace.Status, self._trace.StatusCode.ERROR))

    def _origin(self, carriers: Sequence[Mapping[str, str]]) -> tuple[TraceContext, list[Any]]:
        """The parent of an attempt of one run; the links of an attempt of several, which has none."""
        from opentelemetry.context import Context as Nothing

        contexts = [self._propagate.extract(one, context=Nothing()) for one in carriers]
        if len(contexts) == 1:
            return contexts[0], []
        spans = [self._trace.get_current_span(one).get_span_context() for one in contexts]
        different = {(one.trace_id, one.span_id): one for one in spans if one.is_valid}
        return Nothing(), [self._trace.Link(one) for one in different.values()]


class _Attempt:
    """An attempt under way; of those of its runs that fail, the span has the errors that the history has."""

    def __init__(self, span: Span, failed: Callable[[str], Status]) -> None:
        self._span = span
        self._failed = failed

    def ended(self, ends: Sequence[End], /) -> None:
        kinds = {kind for kind, _ in ends}
        self._span.set_attribute("openqueue.outcome", kinds.pop() if len(kinds) == 1 else "mixed")
        errors = [error for kind, error in ends if kind in ("failed", "retry") and error is not None]
        if len(ends) > 1:
            self._span.set_attribute("openqueue.failed", len(errors))
        told = [decode(error) for error in dict.fromkeys(errors)]
        for error in told:
            self._span.add_event(
                "exception", {f"exception.{key}": error[of] for key, of in _EXCEPTION.items()}
            )
        if told and len(errors) == len(ends):
            self._span.set_attribute("error.type", told[0]["type"])
            self._span.set_status(self._failed(f"{told[0]['type']}: {told[0]['message']}"))


_EXCEPTION = {"type": "type", "message": "message", "stacktrace": "traceback"}
"""What OpenTelemetry calls it, and a stored error."""


class _Sending:
    """An enqueue under way; its runs carry `carrier`."""

    def __init__(self, span: Span, carrier: Mapping[str, str]) -> None:
        self._span = span
        self._carrier = carrier

    def carry(self, item: Item[R], /) -> Item[R]:
        return carried(item, self._carrier)

    def sent(self, runs: Sequence[Run[Any]], /) -> None:
        if len(runs) == 1:
            self._span.set_attribute("messaging.message.id", str(runs[0].id))
        else:
            self._span.set_attribute("messaging.batch.message_count", len(runs))


def _destination(item: Item[Any]) -> dict[str, str]:
    """The queue, where it is known here; else the catalogue says it."""
    queue = item.options.queue or (item.declared.defaults.queue if item.declared is not None else None)
    return {} if queue is None else {"messaging.destination.name": queue}


def _attempt(ctx: Context) -> dict[str, Any]:
    told = {
        **_SYSTEM,
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": ctx.queue,
        "openqueue.task": ctx.task,
        "openqueue.namespace": ctx.namespace,
        "openqueue.attempt": ctx.attempt,
        "openqueue.max_attempts": ctx.max_attempts,
    }
    if len(ctx.items) > 1:
        return {**told, "messaging.batch.message_count": len(ctx.items)}
    return {**told, "messaging.message.id": str(ctx.run_id)}
