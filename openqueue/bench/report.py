"""What was asked for, and what was measured: plain values, as `--json` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

__all__ = ["SCENARIOS", "Machine", "Options", "Report", "Result", "Server", "percentile"]

SCENARIOS = {
    "enqueue-many": "all jobs in one call of enqueue_many",
    "enqueue": "one call a job, 50 calls at once",
    "drain": "the jobs wait; workers run them, and they do nothing",
    "latency": "a job every 50 ms for idle workers, from before the enqueue to the start of the task",
    "mixed": "enqueue and run at the same time, tasks that take 5 ms",
}
"""What can be measured, in the order in which it is."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: `jobs` for enqueue-many and drain (enqueue: a tenth), `seconds` for latency and mixed.

    `workers` is in processes, each of which runs `concurrency` tasks at a time.
    """

    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    jobs: int = 50_000
    seconds: float = 10.0
    concurrency: int = 100
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """Where this ran: `cores` are those that this process may use."""

    openqueue: str
    python: str
    system: str
    cores: int


@dataclass(frozen=True, slots=True)
class Server:
    """The database: medians of a round trip and of the smallest commit, in ms (None: not allowed to)."""

    place: str
    version: str
    settings: Mapping[str, str]
    round_trip_ms: float
    commit_ms: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a scenario gave; a rate or times that it does not have are None."""

    scenario: str
    jobs: int
    seconds: float
    jobs_per_second: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None

    @classmethod
    def of(
        cls, scenario: str, jobs: int, seconds: float, times: Sequence[float] = (), *, rate: bool = True
    ) -> Result:
        """From counts and times in seconds."""
        spread = [percentile(times, share) * 1000 for share in (0.5, 0.95, 0.99, 1.0)] if times else []
        per_second = round(jobs / seconds, 1) if rate and seconds else None
        return cls(scenario, jobs, round(seconds, 4), per_second, *(round(one, 3) for one in spread))


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    machine: Machine
    server: Server
    options: Options
    results: tuple[Result, ...]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed (the nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
