"""Whether a worker is there for a run, and what is said to who waits for it.

Workers do not say one by one what they know: all of a kind publish the same tasks when they start. So a task
that was last published before a worker started is not known to that worker. (The other way round is not
certain: then nothing is said.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from openqueue.db.pool import Database
from openqueue.runs.model import RunInfo

__all__ = ["missing_for", "who_is_missing", "why_not_ended"]

_WAITING = {"scheduled", "queued", "retrying"}

Row = Mapping[str, Any]


def who_is_missing(
    task: str, queue: str, workers: Iterable[Row], catalog: Iterable[Row], *, silence: float
) -> str | None:
    """Why nobody is there for a run of this task, and what to do; None if somebody may be. Pure.

    `workers` and `catalog` are what the queries of these names answer. Who has not beaten for `silence`
    seconds is not alive.
    """
    alive = [one for one in workers if one["beat_age"] < silence and one["state"] != "draining"]
    if not alive:
        return "No worker is alive: the run waits for one. Start it: openqueue worker (or openqueue dev)"
    published = [one["seen_at"] for one in catalog if _is_called(task, one)]
    knowing = [one for one in alive if published and one["started_at"] <= max(published)]
    if not knowing:
        return (
            f"None of the workers that are alive ({len(alive)}) has the task {task}: the run waits for one"
            " that has. Check the name, or start one where the task is: openqueue worker"
        )
    if all(one["queues"] and queue not in one["queues"] for one in knowing):
        return (
            f"No worker that is alive and has the task works on queue {queue!r}: the run waits for one that"
            f" does. Start it: openqueue worker --queue {queue}"
        )
    return None


async def missing_for(database: Database, namespace: str, info: RunInfo, *, silence: float) -> str | None:
    """The same of a run as it was when read; None, too, if it waits for nobody."""
    if info.status not in _WAITING:
        return None
    workers, catalog = [
        [dict(row) for row in await database.fetch(name, namespace)] for name in ("workers", "catalog")
    ]
    return who_is_missing(info.task, info.queue, workers, catalog, silence=silence)


def why_not_ended(info: RunInfo, missing: str | None) -> str:
    """What an unfinished run waits for, in a sentence or two. Pure."""
    due = info.run_at.isoformat(" ", "seconds")
    said = {
        "scheduled": f"It is scheduled for {due}.",
        "queued": f"It is queued in {info.queue!r}.",
        "retrying": f"It is retrying: attempt {info.attempt} of {info.max_attempts} ended with"
        f" {_error(info)}; the next is due at {due}.",
        "blocked": "It is blocked: its concurrency key, its task or its group is at a limit or paused. See"
        f" which: openqueue tasks show {info.task}, openqueue queues show {info.queue}.",
        "running": f"It is running: attempt {info.attempt} of {info.max_attempts}.",
    }.get(info.status, f"It is {info.status}.")
    if info.status == "queued" and missing is None:
        return f"{said[:-1]}, behind others: a worker that is alive has its task, and works on it."
    return f"{said} {missing}." if missing else said


def _error(info: RunInfo) -> str:
    error = info.error or {}
    return f"{error.get('type')}: {error.get('message')}".rstrip(". ")


def _is_called(task: str, entry: Row) -> bool:
    return task == entry["task"] or task in json.loads(entry["options"]).get("aliases", ())
