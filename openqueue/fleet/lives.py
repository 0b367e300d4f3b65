"""What becomes of a worker that has ended, and of the whole. Decided here, done in `fleet`."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from random import random as uniform
from typing import Final

from openqueue.backoff import Exponential, Random
from openqueue.fleet.words import Failure

__all__ = ["BACKOFF", "STEADY", "Again", "End", "Lives", "Over", "Refused", "exit_code"]

BACKOFF: Final = Exponential("500ms", 2.0, "30s", jitter=0.25)
"""The wait before a worker is started again: 0.5 s, 1 s, 2 s … 30 s, while it keeps falling."""

STEADY: Final = 60.0
"""Seconds of life after which a fall counts as the first again."""

_SIGNALLED: Final = 128
"""What shells add to a signal's number to make an exit code of it."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of one life of a worker.

    code      its exit code; negative for a signal; None: it could not be started
    lived     seconds since it was started
    ran       whether it has taken in work in this life
    failure   what it said of the reason
    """

    code: int | None
    lived: float
    ran: bool = False
    failure: Failure | None = None

    @property
    def how(self) -> str:
        """It in words."""
        if self.code is None:
            return "could not be started"
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return signal.Signals(-self.code).name
        except ValueError:  # a real-time signal
            return f"signal {-self.code}"


@dataclass(frozen=True, slots=True)
class Again:
    """It is started again, after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Over:
    """It is not started again; `code` is its part of the exit code."""

    code: int


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot be started, now or later, and so cannot the others: the whole ends with `failure`."""

    failure: Failure


class Lives:
    """The lives of one worker: counts its falls. With `once` each has one life."""

    def __init__(self, *, once: bool = False, random: Random = uniform) -> None:
        self._once = once
        self._random = random
        self._falls = 0

    def after(self, end: End, *, stopping: bool) -> Again | Over | Refused:
        """What follows on this end; `stopping`: all have been told to stop."""
        if end.failure is not None and not end.failure.heals and not end.ran:
            return Refused(end.failure)
        if stopping or self._once:
            return Over(_as_exit_code(end, stopping=stopping))
        self._falls = 1 if end.lived >= STEADY else self._falls + 1
        return Again(BACKOFF.delay(self._falls, random=self._random).total_seconds())


def exit_code(codes: Iterable[int], *, at_once: int | None, failure: Failure | None) -> int:
    """The exit code of the whole: as of a single worker, and of several the worst.

    `at_once`: the code after a second signal, if there was one.
    """
    if failure is not None:
        return failure.code
    return max(codes, default=0) if at_once is None else at_once


def _as_exit_code(end: End, *, stopping: bool) -> int:
    if end.code is None:
        return 1
    if end.code >= 0:
        return end.code
    if stopping and end.code == -signal.SIGTERM:
        return 0  # it had not begun: nothing was there to be finished
    return _SIGNALLED - end.code
