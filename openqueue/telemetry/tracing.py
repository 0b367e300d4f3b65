"""Traces by OpenTelemetry: from the enqueue to every attempt, whichever process it is in.

An enqueue is a span of kind PRODUCER; its context goes with the run, and each attempt is a CONSUMER that is
its child. An attempt of several runs (`batch=`) is linked to each of theirs. Attributes are those of the
semantic conventions for messaging, and `openqueue.*`. Only the API is used: where the spans go is the
program's business, which sets a TracerProvider (by the SDK, or by `opentelemetry-instrument`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from openqueue import __version__
from openqueue.errors import ConfigError
from openqueue.runs.model import Run
from openqueue.tasks.carrier import carried
from openqueue.tasks.context import Context
from openqueue.tasks.control import Cancelled, Snooze
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.middleware import CallNext

if TYPE_CHECKING:
    from opentelemetry.context import Context as TraceContext
    from opentelemetry.trace import Span

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

    async def around(self, ctx: Context, call_next: CallNext) -> Any:
        """The span of an attempt: a middleware, the outermost one."""
        parent, links = self._origin([one.carrier for one in ctx.items])
        with self._tracer.start_as_current_span(
            f"run {ctx.task}",
            context=parent,
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_attempt(ctx),
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await call_next()
            except (Snooze, Cancelled) as word:
                span.add_event("snoozed" if isinstance(word, Snooze) else "cancelled")
                raise
            except BaseException as error:
                self._failed(span, error)
                raise

    def _origin(self, carriers: Sequence[Mapping[str, str]]) -> tuple[TraceContext, list[Any]]:
        """The parent of an attempt of one run; the links of an attempt of several, which has none."""
        from opentelemetry.context import Context as Nothing

        contexts = [self._propagate.extract(one, context=Nothing()) for one in carriers]
        if len(contexts) == 1:
            return contexts[0], []
        spans = [self._trace.get_current_span(one).get_span_context() for one in contexts]
        return Nothing(), [self._trace.Link(one) for one in dict.fromkeys(spans) if one.is_valid]

    def _failed(self, span: Span, error: BaseException) -> None:
        kind = type(error)
        name = (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        span.set_attribute("error.type", name)
        try:
            span.record_exception(error)
            said = f"{kind.__qualname__}: {error}"
        except Exception:  # noqa: BLE001  one that has no words; what becomes of the run is not for us to decide
            said = kind.__qualname__
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, said))


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
