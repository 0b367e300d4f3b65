"""How a service bears a database that is away: told once, tried again with pauses, told when it is back.

The pauses end as soon as another part of the process has got through (`openqueue.db.outage`).
"""

from __future__ import annotations

import random

from openqueue.db.outage import Outage
from openqueue.events import Emit
from openqueue.worker.events import ServiceRecovered, ServiceStumbled

__all__ = ["Stumbling"]

FIRST, LONGEST = 0.1, 5.0
"""Seconds of the first pause and, by default, of the longest; they double."""


class Stumbling:
    """The failures in a row of one service; `longest`: seconds, its pauses are up to a quarter longer."""

    def __init__(
        self, service: str, emit: Emit, outage: Outage | None = None, *, longest: float = LONGEST
    ) -> None:
        self._service = service
        self._emit = emit
        self._outage = outage or Outage()
        self._longest = longest
        self.failures = 0

    def stumble(self, error: BaseException) -> float:
        """Note a failure; answers the seconds to wait."""
        pause = min(FIRST * 2.0 ** min(self.failures, 10), self._longest) * random.uniform(0.75, 1.25)
        self.failures += 1
        if self.failures == 1:
            self._emit(ServiceStumbled(self._service, str(error), pause))
        return pause

    async def pause(self, error: BaseException) -> None:
        """Note a failure, and wait for the next try."""
        await self._outage.wait(self.stumble(error))

    def recover(self) -> None:
        """Note a success: the others need not wait, either."""
        if self.failures:
            self._emit(ServiceRecovered(self._service, self.failures))
            self.failures = 0
            self._outage.over()
