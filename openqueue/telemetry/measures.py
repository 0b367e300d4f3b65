"""What is measured: the catalogue, and how events are counted.

Nothing is counted unless `Measures.subscribe` is called, and events that nobody wants are not even made.
Labels are few: of queues and tasks the first `MOST` pairs of a process have their own, the others share
`_other`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from openqueue.cluster import events as cluster
from openqueue.db import events as db
from openqueue.events import Event, Events, Unsubscribe
from openqueue.scheduler import events as schedules
from openqueue.telemetry.tally import Tally
from openqueue.worker import events as worker

__all__ = ["MEASURES", "MOST", "OTHER", "Measure", "Measures"]

MOST: Final = 200
OTHER: Final = "_other"

_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_CALLS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric; a counter's name goes without the `_total` that it is shown with."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_RUN = ("queue", "task")

MEASURES: Final[Mapping[str, Measure]] = {
    one.name: one
    for one in (
        Measure("openqueue_runs_started", "counter", "Attempts begun.", _RUN),
        Measure("openqueue_runs_finished", "counter", "Attempts ended, by how.", (*_RUN, "outcome")),
        Measure("openqueue_run_start_delay_seconds", "histogram", "From due to begun.", _RUN, _DELAYS),
        Measure("openqueue_run_seconds", "histogram", "How long attempts ran.", _RUN, _DELAYS),
        Measure("openqueue_runs_expired", "counter", "Runs whose deadline passed before they began."),
        Measure("openqueue_runs_rescued", "counter", "Runs of dead workers, by verdict.", ("verdict",)),
        Measure("openqueue_leases_lost", "counter", "Attempts whose run was no longer this worker's."),
        Measure("openqueue_jobs_released", "counter", "Jobs given back, uncounted."),
        Measure("openqueue_outcomes_unsaved", "counter", "Outcomes that could not be stored before the end."),
        Measure("openqueue_claim_jobs", "histogram", "Jobs that a claim brought.", (), _SIZES),
        Measure("openqueue_claim_seconds", "histogram", "How long a claim took.", (), _CALLS),
        Measure("openqueue_flush_outcomes", "histogram", "Outcomes stored in one call.", (), _SIZES),
        Measure("openqueue_flush_seconds", "histogram", "How long storing them took.", (), _CALLS),
        Measure("openqueue_database_errors", "counter", "Faults, once until they are over.", ("part",)),
        Measure("openqueue_statements_retried", "counter", "Statements lost against others, sent again."),
        Measure("openqueue_loop_blocked", "counter", "Times that a task blocked the event loop."),
        Measure("openqueue_threads_abandoned", "counter", "Threads of tasks that did not end."),
        Measure("openqueue_ticks", "counter", "Times of schedules, by what was made of them.", ("result",)),
        Measure("openqueue_tick_delay_seconds", "histogram", "From a tick's time to its run.", (), _DELAYS),
        Measure("openqueue_worker_processes_ended", "counter", "Workers of --processes that ended unasked."),
        Measure("openqueue_leader", "gauge", "Whether this worker leads its namespace."),
        Measure("openqueue_worker_ready", "gauge", "Whether it takes in work (/ready)."),
        Measure("openqueue_worker_live", "gauge", "Whether it is worth keeping (/live)."),
        Measure("openqueue_worker_running", "gauge", "Attempts that run now."),
        Measure("openqueue_worker_loop_idle_seconds", "gauge", "Since the event loop last made progress."),
        Measure("openqueue_database_up", "gauge", "Whether the database answers."),
        Measure("openqueue_queue_jobs", "gauge", "Unfinished runs, by state.", ("queue", "state")),
        Measure("openqueue_queue_oldest_seconds", "gauge", "Wait of its first ready job.", ("queue",)),
        Measure("openqueue_queue_jobs_capped", "gauge", "Whether there are more than were counted."),
        Measure("openqueue_build_info", "gauge", "1, with the versions as labels.", ("version", "python")),
    )
}  # fmt: skip


class Measures:
    """Counts what happens in this process."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._pairs: set[tuple[str, str]] = set()

    def subscribe(self, bus: Events) -> Unsubscribe:
        """Count from now on; returns how to stop that."""
        stops = [bus.subscribe(kind, count) for kind, count in self._counted().items()]

        def stop() -> None:
            for one in stops:
                one()

        return stop

    def _counted(self) -> dict[type[Event], Callable[[Any], None]]:
        add, level = self.tally.add, self.tally.set
        return {
            worker.RunStarted: self._started,
            worker.RunFinished: self._finished,
            worker.JobsClaimed: lambda event: self._call(
                "claim_jobs", event.jobs, "claim_seconds", event.seconds
            ),
            worker.OutcomesStored: lambda event: self._call(
                "flush_outcomes", event.outcomes, "flush_seconds", event.seconds
            ),
            worker.ExpiredBeforeStart: lambda _: add("openqueue_runs_expired"),
            worker.LeaseWasLost: lambda _: add("openqueue_leases_lost"),
            worker.JobsReleased: lambda event: add("openqueue_jobs_released", (), event.jobs),
            worker.OutcomeUnsaved: lambda _: add("openqueue_outcomes_unsaved"),
            worker.LoopBlocked: lambda _: add("openqueue_loop_blocked"),
            worker.ThreadAbandoned: lambda _: add("openqueue_threads_abandoned"),
            worker.ServiceStumbled: lambda event: add("openqueue_database_errors", (event.service,)),
            worker.WorkerProcessEnded: lambda _: add("openqueue_worker_processes_ended"),
            worker.WorkerStopped: lambda _: level("openqueue_leader", 0),
            cluster.LeaderElected: lambda _: level("openqueue_leader", 1),
            cluster.LeaderLost: lambda _: level("openqueue_leader", 0),
            cluster.RunRescued: lambda event: add("openqueue_runs_rescued", (event.verdict,)),
            cluster.DutyFailed: lambda event: add("openqueue_database_errors", (event.duty,)),
            db.ListenerLost: lambda _: add("openqueue_database_errors", ("listener",)),
            db.StatementRetried: lambda _: add("openqueue_statements_retried"),
            schedules.TickFired: self._fired,
            schedules.TickSkipped: lambda event: add("openqueue_ticks", (event.reason,)),
            schedules.TicksMissed: lambda event: add("openqueue_ticks", ("missed",), event.count),
            schedules.ScheduleFailed: lambda _: add("openqueue_ticks", ("failed",)),
        }

    def _started(self, event: worker.RunStarted) -> None:
        pair = self._pair(event.queue, event.task)
        self.tally.add("openqueue_runs_started", pair)
        if event.waited is not None:
            self.tally.observe("openqueue_run_start_delay_seconds", event.waited, _DELAYS, pair)

    def _finished(self, event: worker.RunFinished) -> None:
        pair = self._pair(event.queue, event.task)
        self.tally.add("openqueue_runs_finished", (*pair, event.outcome))
        self.tally.observe("openqueue_run_seconds", event.seconds, _DELAYS, pair)

    def _call(self, size: str, amount: int, took: str, seconds: float) -> None:
        self.tally.observe(f"openqueue_{size}", amount, _SIZES)
        self.tally.observe(f"openqueue_{took}", seconds, _CALLS)

    def _fired(self, event: schedules.TickFired) -> None:
        self.tally.add("openqueue_ticks", ("fired",))
        self.tally.observe("openqueue_tick_delay_seconds", max(event.late, 0.0), _DELAYS)

    def _pair(self, queue: str, task: str) -> tuple[str, str]:
        pair = (queue, task)
        if pair in self._pairs:
            return pair
        if len(self._pairs) >= MOST:
            return (OTHER, OTHER)
        self._pairs.add(pair)
        return pair
