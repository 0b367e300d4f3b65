"""What the client asks of a tracer; `telemetry.tracing` implements it. Without one nothing of it is there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from openqueue.runs.model import Run
from openqueue.tasks.enqueuer import Item

__all__ = ["Sending", "Tracer"]

R = TypeVar("R")


class Sending(Protocol):
    """An enqueue under way."""

    def carry(self, item: Item[R], /) -> Item[R]:
        """The item with what its run needs to join the trace."""
        ...

    def sent(self, runs: Sequence[Run[Any]], /) -> None:
        """It is stored."""
        ...


class Tracer(Protocol):
    """Makes spans."""

    def enqueueing(self, item: Item[Any] | None, /) -> AbstractContextManager[Sending]:
        """The span of an enqueue: of one item, or of several (None)."""
        ...
