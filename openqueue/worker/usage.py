"""What this process takes of its machine: memory, and time of its processors."""

from __future__ import annotations

import os
import sys
import time

__all__ = ["Usage"]


class Usage:
    """Reads it; each reading is about the time since the one before."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._spent = time.process_time()

    def read(self) -> tuple[int | None, float]:
        """Bytes of memory (None where that cannot be told), and percent of one core."""
        now, spent = time.monotonic(), time.process_time()
        elapsed = max(now - self._at, 1e-9)
        percent = 100 * (spent - self._spent) / elapsed
        self._at, self._spent = now, spent
        return memory(), round(percent, 1)


def memory() -> int | None:
    """Bytes that this process holds in memory; where only the most so far is known, that."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  a path object for each beat is dearer
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
