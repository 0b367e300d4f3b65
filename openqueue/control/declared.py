"""What the code and the settings of a worker say: published when it starts.

The database holds it beside what is said at run time. A worker speaks for the tasks that it knows and the
queues that its settings name: what these do not say any longer is taken back; of others nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from openqueue.codec import encode
from openqueue.control.changes import KEPT, Change, limited, shared
from openqueue.db.pool import Database
from openqueue.tasks.task import Task

__all__ = ["of_code", "of_settings", "publish"]

Queues = Mapping[str, Mapping[str, Any]]


async def publish(
    database: Database, namespace: str, tasks: Iterable[Task[..., Any]], queues: Queues
) -> None:
    """Publish what the options of the tasks and the settings of the queues say."""
    known = list(tasks)
    scopes = {"code": [f"task {one.name}" for one in known], "settings": [f"queue {name}" for name in queues]}
    said = {"code": of_code(known), "settings": of_settings(queues)}
    for source, changes in said.items():
        if scopes[source]:
            items = encode([one.item() for one in changes], what="controls")
            await database.fetchval("publish_controls", namespace, source, items, scopes[source])


def of_code(tasks: Iterable[Task[..., Any]]) -> Iterator[Change]:
    """What the options of tasks say. Pure."""
    for one in tasks:
        said = one.defaults
        if said.concurrency is not None or said.rate is not None:
            yield limited(("task", one.name, ""), said.concurrency, said.rate, said.burst)


def of_settings(queues: Queues) -> Iterator[Change]:
    """What the setting `controls` says, by queue. Pure."""
    for queue, said in queues.items():
        if "concurrency" in said or "rate" in said:
            yield limited(("queue", queue, ""), said.get("concurrency"), said.get("rate"), said.get("burst"))
        if said.keys() & {"fairness", "ageing", "weights"}:
            yield from shared(
                queue, said.get("fairness", KEPT), said.get("weights"), said.get("ageing", KEPT)
            )
