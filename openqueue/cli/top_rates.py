"""How fast runs come in and go out: worked out from two readings of what the server counts anyway.

The statistics that workers tell (`client.stats`, the view `queue_rates`) come every five seconds and know
nothing of what comes in: the page shows them for each queue. This is for a line that moves each second, and
reads one row for each table, so that it costs the same whatever lies in the history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["KEPT", "Rates", "sparkline"]

KEPT: Final = 120
"""Readings that are remembered, for the line of the last minutes."""

_BARS: Final = "▁▂▃▄▅▆▇█"


@dataclass
class Rates:
    """Runs a second: `added` and `ended`, the newest last; fed by `read`."""

    added: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    ended: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _last: tuple[float, int, int] | None = None

    def read(self, at: float, totals: Mapping[str, Any]) -> None:
        """A reading, at a moment of the monotonic clock. A count that went back begins anew."""
        added, ended = int(totals["added"]), int(totals["ended"])
        if self._last is not None and at > self._last[0]:
            before, was_added, was_ended = self._last
            self.added.append(max(added - was_added, 0) / (at - before))
            self.ended.append(max(ended - was_ended, 0) / (at - before))
        self._last = (at, added, ended)


def sparkline(values: deque[float], width: int) -> str:
    """The newest values as bars, the greatest of them the highest. Pure."""
    if width <= 0:
        return ""
    shown = [*values][-width:]
    most = max(shown, default=0.0)
    if not most:
        return (_BARS[0] * len(shown)).rjust(width)
    bars = (_BARS[min(int(value / most * len(_BARS)), len(_BARS) - 1)] for value in shown)
    return "".join(bars).rjust(width)
