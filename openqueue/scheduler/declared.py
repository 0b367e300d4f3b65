"""The schedules that tasks declare: checked and published before a worker takes in work."""

from __future__ import annotations

import asyncio
import random
from hashlib import sha256
from typing import Any, Final

from openqueue.cluster.events import DutyFailed
from openqueue.codec import encode
from openqueue.db.pool import Database
from openqueue.errors import InvalidArguments, InvalidOption, InvalidTask, OpenQueueError
from openqueue.events import Emit
from openqueue.scheduler.events import ScheduleTaken
from openqueue.scheduler.keys import key_of_runs
from openqueue.scheduler.planner import Policy
from openqueue.scheduler.rules import Rule
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import Task

__all__ = ["DeclaredSchedules", "declared_schedules"]

EVERY: Final = 3600.0
"""Seconds between saying that they are still declared."""

PAUSES: Final = (0.2, 30.0)
"""Seconds until the next try while the database is away, doubling."""


def declared_schedules(registry: Registry) -> list[dict[str, Any]]:
    """What the tasks declare, as publish_schedules takes it.

    Raises InvalidTask, naming the task, for an expression that cannot be computed, an unknown zone, an
    input that the task would refuse, or one of which it can make no concurrency key.
    """
    return [_declared(task) for task in registry if task.defaults.scheduled is not None]


class DeclaredSchedules:
    """Publishes what the tasks of a registry declare; those of tasks it does not know are never touched."""

    def __init__(self, database: Database, registry: Registry, namespace: str, emit: Emit) -> None:
        self._database = database
        self._namespace = namespace
        self._emit = emit
        self._tasks = list(registry.names)
        self._declared = declared_schedules(registry)
        self._pool = sha256("\n".join(registry.names).encode()).hexdigest()[:12]
        self._published = False

    async def run(self) -> None:
        """Publish them, unless that is done, then say every hour that they still hold, until cancelled."""
        pause, longest = PAUSES
        failing = False
        while True:
            try:
                if self._published:
                    await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))
                await (self._see() if self._published else self.once())
                failing, (pause, longest) = False, PAUSES
            except OpenQueueError as error:
                if not failing:
                    self._emit(DutyFailed("declared schedules", str(error)))
                failing = True
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(pause * 2, longest)

    async def once(self) -> dict[str, str]:
        """Publish them; answers what became of each, by its key."""
        rows = await self._database.fetch(
            "publish_schedules", self._namespace, self._pool, self._tasks, encode(self._declared)
        )
        self._published = True
        for row in rows:
            if row["outcome"] == "taken":
                self._emit(ScheduleTaken(row["key"]))
        return {row["key"]: row["outcome"] for row in rows}

    async def _see(self) -> None:
        if self._declared:
            keys = [one["task"] for one in self._declared]
            await self._database.fetchval("see_schedules", self._namespace, self._pool, keys)


def _declared(task: Task[..., Any]) -> dict[str, Any]:
    said = task.defaults.scheduled
    assert said is not None
    try:
        rule = Rule(cron=said.cron, every=said.every, timezone=said.timezone)
        Policy(said.catch_up, said.jitter)
        task.arguments.parse(encode(dict(said.input), what="input"))
        key = key_of_runs(task, said.input)
    except InvalidOption as error:
        raise InvalidTask(f"the schedule of task {task.name} ({task.place}): {error}") from error
    except InvalidArguments as error:
        fault = str(error).replace(": the stored input does not fit", "")
        raise InvalidTask(
            f"the schedule of task {task.name} ({task.place}): {fault} What its runs are given is said by"
            " @task(input={...})."
        ) from error
    return {
        "task": task.name,
        "cron": rule.cron,
        "every": None if rule.every is None else f"{rule.every.total_seconds()} seconds",
        "timezone": said.timezone,
        "overlap": said.overlap,
        "catch_up": said.catch_up,
        "jitter": f"{said.jitter.total_seconds()} seconds",
        "input": dict(said.input),
        "concurrency_key": key,
    }
