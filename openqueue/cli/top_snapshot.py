"""What `openqueue top` shows, as it was read at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from openqueue.runs.client import Client

__all__ = ["Snapshot", "read_snapshot"]

Row = Mapping[str, Any]

LOOKED_AT: Final = 200_000
"""Unfinished runs that are counted."""

FAILURES: Final = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Queues (with `paused`, None or a reason), workers, the newest failures, and totals for rates.

    What ended in each queue is of the last five minutes, from the statistics that are added up.
    """

    at: datetime
    place: str
    namespace: str
    queues: Sequence[Row]
    workers: Sequence[Row]
    failures: Sequence[Row]
    failed: int
    totals: Row
    leader: str | None
    paused: bool
    capped: bool


async def read_snapshot(client: Client, silence: float, name: str = "") -> Snapshot:
    """Read it; of queues those whose name has `name` in it."""
    database, namespace = client.database, client.namespace
    waiting = await database.fetch("doctor_waiting", namespace, LOOKED_AT)
    controls = await database.fetch("controls_in_force", namespace, None, None)
    workers = [dict(row) for row in await database.fetch("workers", namespace)]
    for row in workers:
        row["alive"] = row["beat_age"] < silence
    leader = await database.fetchrow("doctor_leader", namespace)
    paused = {row["name"]: row for row in controls if row["kind"] == "queue" and row["paused"]}
    failing = await database.fetchrow("top_failing", namespace)
    recent = {row["queue"]: row for row in await database.fetch("top_recent", namespace)}
    totals = await database.fetchrow("top_totals")
    failures = await database.fetch("top_failures", namespace, None, FAILURES)
    return Snapshot(
        at=await database.fetchval("database_time"),
        place=str(database.place),
        namespace=namespace,
        queues=[row for row in _queues(waiting, workers, paused, recent) if name in row["queue"]],
        workers=workers,
        failures=[dict(row) for row in failures if name in row["queue"]],
        failed=failing["failed"] if failing else 0,
        totals=dict(totals) if totals else {"added": 0, "ended": 0},
        leader=(leader["name"] or str(leader["holder"])) if leader and leader["valid"] else None,
        paused=any(row["kind"] == "all" and row["paused"] for row in controls),
        capped=any(row["capped"] for row in waiting),
    )


def _queues(
    waiting: Sequence[Any], workers: Sequence[Row], paused: Mapping[str, Any], recent: Mapping[str, Any]
) -> list[Row]:
    """Queues with something in them, where something ended, that are paused, or that workers name."""
    named = {queue for row in workers for queue in row["queues"] or () if row["alive"]}
    found: dict[str, dict[str, Any]] = {}
    for queue in (*(row["queue"] for row in waiting), *paused, *named, *recent):
        found.setdefault(queue, {"queue": queue, **dict.fromkeys(_COUNTS, 0), "jobs": 0, "oldest": None})
    for row in waiting:
        one = found[row["queue"]]
        for count in (*_COUNTS, "jobs"):
            one[count] += row[count]
        if row["oldest"] is not None:
            one["oldest"] = max(one["oldest"] or 0.0, row["oldest"])
    for queue, one in found.items():
        ended = recent.get(queue, _NOTHING)
        one |= {name: ended[name] for name in _NOTHING}
        held = paused.get(queue)
        one["scheduled"] = one["jobs"] - sum(one[count] for count in _COUNTS)
        one["paused"] = None if held is None else held["reason"] or "paused"
        one["workers"] = sum(
            row["alive"] and row["state"] != "draining" and (row["queues"] is None or queue in row["queues"])
            for row in workers
        )
    return sorted(found.values(), key=lambda one: (-one["ready"], -one["running"], one["queue"]))


_COUNTS: Final = ("ready", "running", "blocked", "retrying")
_NOTHING: Final[Row] = {"per_minute": 0.0, "failed": 0, "retried": 0, "waited_p95": None}
