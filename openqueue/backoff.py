"""How long to wait before the next attempt.

Unless a task says otherwise: `exp(min(attempt, 10))` seconds, varied by ± 25 % so that jobs that
failed together do not come back together; that is 3 s after the first attempt and 6 h from the tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import e, exp
from random import random as uniform
from typing import Any, Protocol

from openqueue.durations import LONGEST, Duration, is_number, parse_duration
from openqueue.errors import InvalidOption, shown

__all__ = ["Backoff", "Custom", "Exponential", "Fixed", "Random"]

_LATEST = exp(10)  # 6 h 7 min, in seconds

Random = Callable[[], float]
"""A source of numbers in [0, 1)."""


class Backoff(Protocol):
    """A rule for the wait after a failed attempt."""

    def delay(self, attempt: int, error: BaseException | None = None, random: Random = uniform) -> timedelta:
        """The wait after attempt number `attempt` (the first is 1) failed with `error`."""
        ...

    def describe(self) -> dict[str, Any]:
        """The rule as JSON, for the catalogue; durations in seconds."""
        ...


@dataclass(frozen=True, slots=True, init=False)
class Fixed:
    """Always the same wait, varied by ± `jitter` (a share of it)."""

    seconds: float
    jitter: float

    def __init__(self, delay: Duration, *, jitter: float = 0.0) -> None:
        object.__setattr__(self, "seconds", parse_duration(delay, field="backoff.delay").total_seconds())
        object.__setattr__(self, "jitter", _share(jitter))

    def delay(self, attempt: int, error: BaseException | None = None, random: Random = uniform) -> timedelta:
        """The wait before the next attempt: the same after each."""
        return _varied(self.seconds, self.jitter, random)

    def describe(self) -> dict[str, Any]:
        """The policy as JSON, for the catalogue."""
        return {"kind": "fixed", "delay": self.seconds, "jitter": self.jitter}


@dataclass(frozen=True, slots=True, init=False)
class Exponential:
    """`base * factor ** (attempt - 1)`, at most `cap`, then varied by ± `jitter` (a share of it).

    Without arguments it is the default of every task: exp(min(attempt, 10)) seconds ± 25 %.
    """

    base: float
    factor: float
    cap: float
    jitter: float

    def __init__(
        self, base: Duration = e, factor: float = e, cap: Duration = _LATEST, *, jitter: float = 0.25
    ) -> None:
        object.__setattr__(self, "base", parse_duration(base, field="backoff.base").total_seconds())
        object.__setattr__(self, "factor", _factor(factor))
        object.__setattr__(self, "cap", parse_duration(cap, field="backoff.cap").total_seconds())
        object.__setattr__(self, "jitter", _share(jitter))

    def delay(self, attempt: int, error: BaseException | None = None, random: Random = uniform) -> timedelta:
        """The wait before the attempt that follows `attempt` (counted from 1)."""
        try:
            seconds = min(self.base * self.factor ** max(0, attempt - 1), self.cap)
        except OverflowError:
            seconds = self.cap
        return _varied(seconds, self.jitter, random)

    def describe(self) -> dict[str, Any]:
        """The policy as JSON, for the catalogue."""
        return {
            "kind": "exponential",
            "base": self.base,
            "factor": self.factor,
            "cap": self.cap,
            "jitter": self.jitter,
        }


@dataclass(frozen=True, slots=True)
class Custom:
    """A function of (attempt, error) that returns a duration; evaluated by the worker, unknown to SQL."""

    function: Callable[[int, BaseException | None], Duration]

    def delay(self, attempt: int, error: BaseException | None = None, random: Random = uniform) -> timedelta:
        """What the function says; raises what it raises, InvalidOption if it is not a duration."""
        return parse_duration(self.function(attempt, error), field="backoff")

    def describe(self) -> dict[str, Any]:
        """The policy as JSON, for the catalogue: the function's name."""
        return {"kind": "custom", "function": getattr(self.function, "__qualname__", repr(self.function))}


def _varied(seconds: float, jitter: float, random: Random) -> timedelta:
    return min(timedelta(seconds=seconds * (1 + jitter * (2 * random() - 1))), LONGEST)


def _share(value: float) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise InvalidOption(
            f"backoff.jitter: {shown(value)} is not a share: write 0 (none) to 1 (± 100 %).",
            option="backoff.jitter",
        )
    return float(value)


def _factor(value: float) -> float:
    if not is_number(value) or value < 1:
        raise InvalidOption(
            f"backoff.factor: {shown(value)} must be a number of at least 1.", option="backoff.factor"
        )
    return float(value)
