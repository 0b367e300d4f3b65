"""The health of a fleet: of all its workers together, and of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from openqueue.telemetry.health import Facts, Verdict, judge

__all__ = ["FactsOfAll", "FactsOfOne"]


@dataclass(frozen=True, slots=True)
class FactsOfOne:
    """A worker of the fleet. `pid`: None while it has no process. `restarts`: times it was started again."""

    name: str
    pid: int | None
    restarts: int
    facts: Facts


@dataclass(frozen=True, slots=True)
class FactsOfAll:
    """A fleet. It is alive while every process that is there is, and ready while every worker is.

    A process that has ended is no reason to restart the parent, which is about to start it again itself.
    """

    name: str
    draining: bool
    workers: tuple[FactsOfOne, ...]

    @property
    def state(self) -> Literal["starting", "running", "draining"]:
        """Of the whole: running once every worker is."""
        if self.draining:
            return "draining"
        return "running" if all(one.facts.state == "running" for one in self.workers) else "starting"

    def judged(self) -> tuple[Verdict, Verdict]:
        """Whether it is alive, and whether it is ready; what is wrong is said of each worker by its name."""
        each = [(one.name, *judge(one.facts)) for one in self.workers]
        dead = [f"{name}: {fault}" for name, live, _ in each for fault in live.faults]
        faults = [f"{name}: {fault}" for name, _, ready in each for fault in ready.faults]
        if self.draining and not faults:
            faults = ["the workers are draining"]
        return Verdict(not dead, tuple(dead)), Verdict(not faults, tuple(faults))

    def told(self) -> dict[str, Any]:
        """It as JSON: what a single worker tells, of all together, and `processes`."""
        every = [one.facts for one in self.workers]
        return {
            "state": self.state,
            "database": _all_reach_it(one.database for one in every),
            "loop_idle": round(max((one.loop_idle for one in every), default=0.0), 3),
            "running": sum(one.running for one in every),
            "worker": self.name,
            "processes": [
                {**one.facts.told(), "worker": one.name, "pid": one.pid, "restarts": one.restarts}
                for one in self.workers
            ],
        }


def _all_reach_it(each: Iterable[bool | None]) -> bool | None:
    """Of all: False if one has no database, None while one has not said so yet."""
    said = set(each)
    return False if False in said else None if None in said else True
