"""What the parent of a fleet and its workers say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Failure", "Word"]


class Word(IntEnum):
    """To a worker: HELLO (pickled), STOP, LEAVE (at once). From it: FACTS, FAILED, TALLY, as JSON."""

    HELLO = 1
    STOP = 2
    LEAVE = 3
    FACTS = 4
    FAILED = 5
    TALLY = 6


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a worker could not go on: the exit code for it, and a message each.

    heals    whether time alone may mend it, as it does for a database that is away
    """

    code: int
    said: tuple[str, ...]
    heals: bool
