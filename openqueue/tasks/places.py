"""The place that the attempt which runs here has taken in its worker.

An attempt that waits for another run keeps its place meanwhile. That is told to the place, so that the worker
can notice when all of its places wait, and none is left for the runs that they wait for. What the attempt
logs by the standard library is told to it, too.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from logging import LogRecord
from typing import Protocol
from uuid import UUID

__all__ = ["Place", "place", "waiting_for"]


class Place(Protocol):
    """A place of a worker, for one attempt."""

    def waiting_for(self, run_id: UUID) -> AbstractContextManager[None]:
        """Within the block, what runs in it waits for the end of this run."""
        ...

    def hear(self, record: LogRecord) -> None:
        """It has logged this: keep it with the run."""
        ...


place: ContextVar[Place | None] = ContextVar("openqueue_place", default=None)
"""That of the attempt which runs here; None outside of a worker."""


def waiting_for(run_id: UUID) -> AbstractContextManager[None]:
    """Within the block, the attempt that runs here waits for the end of this run."""
    here = place.get()
    return nullcontext() if here is None else here.waiting_for(run_id)
