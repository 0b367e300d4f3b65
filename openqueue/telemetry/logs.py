"""Every log line of openqueue: which event is told, how loudly, in which words.

Engine code never logs. `Logs` subscribes to the events that the level lets through and writes each to the
standard library's logger `openqueue`; events that nobody would read are not even asked for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import UUID

from openqueue.cluster import events as cluster
from openqueue.db import events as db
from openqueue.events import Event, Events, Unsubscribe
from openqueue.scheduler import events as schedules
from openqueue.telemetry.rendering import Line
from openqueue.worker import events as worker

__all__ = ["LINES", "Choice", "Logs", "Words"]

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@dataclass(frozen=True, slots=True)
class Words:
    """How an event is told: the level, the text, and which of its fields are left out."""

    level: int
    text: str
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Words that depend on what the event says; the loudest decides whether it is listened to."""

    of: Callable[[Any], object]
    words: Mapping[object, Words]
    otherwise: Words

    @property
    def level(self) -> int:
        return max(one.level for one in (*self.words.values(), self.otherwise))


_TRACE: Final = 5
"""Below all that is ever logged: what happens with every claim is for metrics."""

LINES: Final[dict[type[Event], Words | Choice]] = {
    worker.WorkerStarted: Words(INFO, "worker started"),
    worker.WorkerDraining: Words(INFO, "worker stops: no new work is taken in"),
    worker.WorkerStopped: Choice(
        lambda event: event.unsaved,
        {0: Words(INFO, "worker stopped", hidden=("unsaved",))},
        otherwise=Words(ERROR, "worker stopped without having stored every outcome"),
    ),
    worker.WorkerGivenUp: Words(
        ERROR, "others gave this worker up for dead: what it ran is no longer its own"
    ),
    worker.WorkerProcessStarted: Words(INFO, "worker process started"),
    worker.WorkerProcessEnded: Choice(
        lambda event: event.delay,
        {None: Words(ERROR, "worker process ended badly", hidden=("delay",))},
        otherwise=Words(WARNING, "worker process ended, and is started again"),
    ),
    worker.WorkerProcessKilled: Words(ERROR, "worker process did not end in time, and was killed"),
    worker.RunStarted: Words(DEBUG, "run started", hidden=("due", "waited")),
    worker.RunFinished: Choice(
        lambda event: event.outcome,
        {
            "completed": Words(DEBUG, "run completed", hidden=("outcome", "delay", "error")),
            "snoozed": Words(DEBUG, "run snoozed", hidden=("outcome", "error")),
            "released": Words(DEBUG, "run given back, uncounted", hidden=("outcome", "delay", "error")),
            "cancelled": Words(INFO, "run cancelled", hidden=("outcome", "delay", "error")),
            "retry": Words(WARNING, "run failed, and is tried again", hidden=("outcome",)),
            "failed": Words(ERROR, "run failed", hidden=("outcome", "delay")),
        },
        otherwise=Words(INFO, "run ended"),
    ),
    worker.LeaseWasLost: Words(WARNING, "lease lost: the run is no longer this worker's"),
    worker.ExpiredBeforeStart: Words(INFO, "run expired before it began"),
    worker.JobsClaimed: Words(_TRACE, "jobs claimed"),
    worker.OutcomesStored: Words(_TRACE, "outcomes stored"),
    worker.JobsReleased: Words(INFO, "jobs given back, uncounted"),
    worker.AttemptAbandoned: Words(WARNING, "task did not end when cancelled, its run goes back"),
    worker.ThreadAbandoned: Words(WARNING, "task did not end, and its thread is left behind"),
    worker.RunLogDropped: Words(
        WARNING, "log lines of runs were dropped: too many while none could be written"
    ),
    worker.LoopBlocked: Words(
        WARNING,
        "a task blocks the event loop, and nothing else goes on: await what it waits for, or make it a `def`,"
        " which runs in a thread",
    ),
    worker.PlacesWait: Words(
        WARNING,
        "all places are taken by tasks that wait for runs, and those wait for a place: raise concurrency, let"
        " another worker run them from a queue of their own, or end without waiting for their results",
    ),
    worker.LoopFreed: Words(INFO, "the event loop turns again"),
    worker.OutcomeUnsaved: Words(ERROR, "outcome could not be stored"),
    worker.BellChanged: Words(DEBUG, "doorbell changed"),
    worker.ServiceStumbled: Words(WARNING, "a part of the worker failed, and tries again"),
    worker.ServiceRecovered: Words(INFO, "a part of the worker works again"),
    cluster.RunRescued: Choice(
        lambda event: event.verdict,
        {"failed": Words(ERROR, "run failed: too many workers were lost with it", hidden=("verdict",))},
        otherwise=Words(WARNING, "run of a dead worker rescued"),
    ),
    cluster.WorkerSuspected: Words(WARNING, "a worker may be dead"),
    cluster.PartitionsMade: Words(INFO, "partitions of the history made"),
    cluster.LanesRemoved: Words(INFO, "lanes that had no job for a while removed"),
    cluster.HistoryPruned: Words(INFO, "history pruned"),
    cluster.LeaderElected: Words(INFO, "leads its namespace"),
    cluster.LeaderLost: Words(WARNING, "leads its namespace no longer"),
    schedules.SchedulesLoaded: Words(DEBUG, "schedules loaded"),
    schedules.TickFired: Words(DEBUG, "tick fired"),
    schedules.TickSkipped: Words(INFO, "tick not fired"),
    schedules.TicksMissed: Words(WARNING, "ticks missed while nobody was there"),
    schedules.ScheduleFailed: Words(ERROR, "a tick could not be enqueued; the schedule goes on"),
    schedules.ScheduleInvalid: Words(ERROR, "schedule cannot be computed: it fires nothing until edited"),
    schedules.ScheduleTaken: Words(WARNING, "a schedule added by hand has this key: the task's is not used"),
    cluster.DutyFailed: Words(WARNING, "a duty failed, and is tried again"),
    db.StatementRetried: Words(DEBUG, "statement lost against others, and is sent again"),
    db.ListenerConnected: Choice(
        lambda event: event.again,
        {False: Words(DEBUG, "notifications arrive", hidden=("again",))},
        otherwise=Words(INFO, "notifications arrive again", hidden=("again",)),
    ),
    db.ListenerLost: Words(WARNING, "no notifications for now: work is found by polling"),
    db.ListenerAbsent: Words(WARNING, "no notifications: work is found by polling alone"),
    db.SchemaIsNewer: Words(
        WARNING, "the schema is newer than this openqueue: it can be worked on, but upgrade this one, too"
    ),
    db.MigrationWaiting: Words(INFO, "migration waits"),
    db.MigrationApplied: Words(INFO, "migration applied"),
    db.EngineReplaced: Words(INFO, "engine replaced"),
}


class Logs:
    """Writes events to a logger. `level` is the least that is written, a number of `logging`."""

    def __init__(self, level: int = INFO, logger: logging.Logger | None = None) -> None:
        self._level = level
        self._logger = logger or logging.getLogger("openqueue")

    def subscribe(self, events: Events) -> Unsubscribe:
        """Listen to the events that could be written; returns how to stop that."""
        told = [kind for kind, words in LINES.items() if words.level >= self._level]
        stops = [events.subscribe(kind, self.write) for kind in told]

        def unsubscribe() -> None:
            for stop in stops:
                stop()

        return unsubscribe

    def write(self, event: Event) -> None:
        """Write the event's line, if its level is let through."""
        words = LINES[type(event)]
        if isinstance(words, Choice):
            words = words.words.get(words.of(event), words.otherwise)
        if words.level >= self._level:
            self._logger.log(words.level, Line(words.text, _fields(event, words.hidden)))


def _fields(event: Event, hidden: tuple[str, ...]) -> dict[str, Any]:
    names = (field.name for field in fields(event) if field.name not in hidden)
    told = {name: _plain(getattr(event, name)) for name in names}
    if isinstance(event, worker.RunFinished) and "error" in told:
        told |= _error(event.error)
    return {name: value for name, value in told.items() if value is not None and value != []}


def _error(stored: str | None) -> dict[str, Any]:
    """A stored error as one line, and its traceback to be shown below."""
    if stored is None:
        return {}
    error = json.loads(stored)
    return {"error": f"{error['type']}: {error['message']}", "exception": error.get("traceback")}


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, float):
        return round(value, 3)
    return list(value) if isinstance(value, tuple) else value
