"""The numbers of a worker's claims: each is the fence of the jobs that it brings."""

from __future__ import annotations

import asyncio
import itertools
import time

__all__ = ["Claims"]


class Claims:
    """The numbers of this worker's claims, and those whose reply is not in yet.

    brought   set when a claim has brought jobs
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(time.time_ns() // 1000)  # never used before, also by an earlier life
        self.pending: set[int] = set()
        self.turn = asyncio.Lock()
        self.brought = asyncio.Event()

    def next(self) -> int:
        """A number for a claim about to be made."""
        claim = next(self._numbers)
        self.pending.add(claim)
        return claim
