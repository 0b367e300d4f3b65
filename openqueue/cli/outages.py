"""A database that goes away while a command follows what happens: it is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from openqueue.cli.output import say
from openqueue.cli.pipes import end_if_nobody_reads
from openqueue.durations import format_duration
from openqueue.errors import ConnectionFailed

if TYPE_CHECKING:
    from openqueue.runs.model import Run

__all__ = ["Outages"]

AWAY: Final = 1.0
"""Seconds between tries while the database is away."""

T = TypeVar("T")


class Outages:
    """Waits while the database is away, and says so: who follows wants to see what comes afterwards."""

    def __init__(self) -> None:
        self._is_away = False

    async def outlast(self, ask: Callable[[], Awaitable[T]], until: float | None = None) -> T:
        """What it answers, once it does. Raises TimeoutError if it does not `until` then (monotonic)."""
        while True:
            try:
                answer = await ask()
            except ConnectionFailed as error:
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"The time is over while the database is away. {error}") from error
                self._left(error)
                end_if_nobody_reads()
                await asyncio.sleep(AWAY if until is None else min(AWAY, max(0, until - time.monotonic())))
            else:
                self._returned()
                return answer

    async def result(self, run: Run[Any], patience: timedelta | None) -> Any:
        """What a run has returned. Raises as `Run.result`; `patience` includes what the database was away."""
        if patience is None:
            return await self.outlast(run.result)
        until = time.monotonic() + patience.total_seconds()
        left = patience

        async def ask() -> Any:
            nonlocal left
            try:
                return await run.result(left)
            except TimeoutError:
                if left == patience:
                    raise
                late = f"Run {run.id} has not ended within {format_duration(patience)}; it goes on."
                raise TimeoutError(late) from None
            finally:
                left = timedelta(seconds=max(0.0, until - time.monotonic()))

        return await self.outlast(ask, until)

    def _left(self, error: ConnectionFailed) -> None:
        if not self._is_away:
            self._is_away = True
            say(f"{error} It is asked again until it answers. Stop with Ctrl-C.")

    def _returned(self) -> None:
        if self._is_away:
            self._is_away = False
            say("The database answers again.")
