"""Sums of what has happened: counters, histograms and levels, by name and labels.

Plain numbers, so that the workers of a fleet can send theirs to the parent, which adds them up. What is told
of it in Prometheus' words is in `exposition`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

__all__ = ["Key", "Sums", "Tally"]

Key = tuple[str, tuple[str, ...]]
"""A measure's name and the values of its labels."""

Plain = dict[str, list[Any]]


class Tally:
    """Counts; from any thread."""

    def __init__(self) -> None:
        self.counters: dict[Key, float] = {}
        self.levels: dict[Key, float] = {}
        self.histograms: dict[Key, list[float]] = {}
        self._lock = Lock()

    def add(self, name: str, labels: tuple[str, ...] = (), by: float = 1) -> None:
        """Count."""
        key = (name, labels)
        with self._lock:
            self.counters[key] = self.counters.get(key, 0) + by

    def set(self, name: str, value: float, labels: tuple[str, ...] = ()) -> None:
        """Remember a level."""
        with self._lock:
            self.levels[name, labels] = value

    def observe(self, name: str, value: float, bounds: Sequence[float], labels: tuple[str, ...] = ()) -> None:
        """Count a value into the first bucket whose bound it does not exceed; the last entry is the sum."""
        key = (name, labels)
        with self._lock:
            buckets = self.histograms.get(key)
            if buckets is None:
                buckets = self.histograms[key] = [0.0] * (len(bounds) + 2)
            buckets[bisect_left(bounds, value)] += 1
            buckets[-1] += value

    def plain(self) -> Plain:
        """All of it as JSON has it."""
        with self._lock:
            return {
                "counters": [[*key, value] for key, value in self.counters.items()],
                "levels": [[*key, value] for key, value in self.levels.items()],
                "histograms": [[*key, [*buckets]] for key, buckets in self.histograms.items()],
            }

    def copy(self) -> Tally:
        """One of its own, to add to."""
        made = Tally()
        made.take_in(self.plain())
        return made

    def take_in(self, other: Plain, *, levels: bool = True) -> None:
        """Add another one to this, without its `levels` if it is over."""
        with self._lock:
            for name, labels, value in other["counters"]:
                key = (name, tuple(labels))
                self.counters[key] = self.counters.get(key, 0) + value
            for name, labels, value in other["levels"] if levels else ():
                key = (name, tuple(labels))
                self.levels[key] = self.levels.get(key, 0) + value
            for name, labels, buckets in other["histograms"]:
                key = (name, tuple(labels))
                before = self.histograms.get(key, [0.0] * len(buckets))
                self.histograms[key] = [a + b for a, b in zip(before, buckets, strict=True)]


class Sums:
    """The tallies of a fleet's workers, as last heard; a worker that was started again goes on from there."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._over = Tally()
        self._last: dict[str, tuple[int, Plain]] = {}

    def hear(self, name: str, pid: int, said: Mapping[str, Any]) -> None:
        """A worker's process has said how much it has counted."""
        with self._lock:
            before = self._last.get(name)
            if before is not None and before[0] != pid:
                self._over.take_in(before[1], levels=False)
            self._last[name] = (pid, dict(said))

    def total(self, own: Tally) -> Tally:
        """Everything together, with what the parent itself has counted."""
        total = Tally()
        with self._lock:
            for one in (own.plain(), self._over.plain(), *(said for _, said in self._last.values())):
                total.take_in(one)
        return total
