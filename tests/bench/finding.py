"""Lists of runs in a history of millions: every filter, sort and direction, the first page and one far down.

Each is one call, as `runs list` makes it: the best of three, warm. `more`: it may be told to go on.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from openqueue.codec import encode
from openqueue.db.statements import Statements
from openqueue.errors import InvalidOption
from openqueue.runs.filter import SORTS, RunFilter
from openqueue.testing.databases import Databases
from tests.bench.driver import Row, drive, tell
from tests.support.many_runs import RARE, fill_history, worker_of

__all__ = ["filters", "measured"]


def filters(now: datetime) -> dict[str, dict[str, Any]]:
    """What is looked for, by what it is called: frequent, rare and not there."""
    day, week, month = (now - timedelta(days=days) for days in (1, 7, 30))
    middle = now - timedelta(days=70)
    after = middle + timedelta(hours=3)
    return {
        "nothing": {},
        "task 1:4": {"task": "app.task_0"},
        "task 1:1,000": {"task": "jobs.thousandth"},
        "task 1:100,000": {"task": RARE["task"]},
        "task none": {"task": "nobody"},
        "queue 1:3": {"queue": "default"},
        "queue none": {"queue": "nobody"},
        **{
            f"status {status}": {"status": (status,)}
            for status in ("completed", "failed", "cancelled", "expired", "queued", "scheduled", "running")
        },
        "status failed or expired": {"status": ("failed", "expired")},
        "schedule, a run a minute": {"schedule": "minutely"},
        "schedule, a run a day": {"schedule": "nightly"},
        "schedule none": {"schedule": "nobody"},
        "worker": {"worker": worker_of(now - timedelta(days=3), 7)},
        "worker of long ago": {"worker": worker_of(middle, 7)},
        "worker none": {"worker": worker_of(now, 99)},
        "key": {"key": "order-5000"},
        "key none": {"key": "nothing"},
        "meta 1:2": {"meta": {"plan": {"name": "free"}}},
        "meta 1:10": {"meta": {"tenantId": 0}},
        "meta 1:150": {"meta": {"tenantId": 5}},
        "meta 1:700": {"meta": {"tenantId": 42}},
        "meta 1:20,000": {"meta": {"tenantId": 4000}},
        "meta one": {"meta": {"orderId": 4999999}},
        "meta none": {"meta": {"tenantId": -1}},
        "tag 1:2": {"tags": ("eu",)},
        "tag 1:100": {"tags": ("import",)},
        "tag 1:100,000": {"tags": (RARE["tag"],)},
        "tag none": {"tags": ("nothing",)},
        "created within 3 h": {"since": middle, "until": after},
        "created within nothing": {"until": now - timedelta(days=400)},
        "started within 3 h": {"since": middle, "started_since": middle, "started_until": after},
        "finished within 3 h": {"finished_since": middle, "finished_until": after},
        "finished within nothing": {"finished_since": now + timedelta(days=1)},
        "error 1:100": {"error": "TimeoutError"},
        "error 1:200,000": {"error": RARE["error"]},
        "error none": {"error": "Nothing"},
        "text, a day": {"text": "host 7 ", "finished_since": day},
        "text, a month": {"text": "host 7 ", "finished_since": month},
        "text none, a week": {"text": "nothing of it", "since": week},
        "task 1:4, failed": {"task": "app.task_0", "status": ("failed",)},
        "task 1:100,000, failed": {"task": RARE["task"], "status": ("failed",)},
        "task 1:4, meta 1:700": {"task": "app.task_0", "meta": {"tenantId": 42}},
        "meta 1:700, failed": {"meta": {"tenantId": 42}, "status": ("failed",)},
        "tag 1:100, completed": {"tags": ("import",), "status": ("completed",)},
        "worker, failed": {"worker": worker_of(now - timedelta(days=3), 7), "status": ("failed",)},
        "queue 1:3, a week": {"queue": "default", "since": week},
        "meta 1:10 and tag 1:100": {"meta": {"tenantId": 0}, "tags": ("import",)},
    }


def variants(now: datetime) -> Iterator[tuple[str, RunFilter]]:
    """Each in every order in which it can be had."""
    for name, said in filters(now).items():
        for sort in SORTS:
            for oldest in (False, True):
                try:
                    chosen = RunFilter(**{**said, "sort": sort, "oldest_first": oldest})
                except InvalidOption:
                    continue
                yield f"{name} | {sort} | {'oldest' if oldest else 'newest'}", chosen


def deep(chosen: RunFilter, now: datetime) -> RunFilter:
    """The same from the middle of the history on."""
    at = now - timedelta(days=70)
    micros = int(at.timestamp() * 1_000_000)
    first = f"{micros // 1000:012x}"
    run = f"{first[:8]}-{first[8:]}-7000-8000-000000000000"
    return replace(chosen, after=run if chosen.order == "created" else f"{micros}~{run}")


async def measured(db: Any, chosen: RunFilter, *, times: int = 3) -> tuple[float, int, bool]:
    """Milliseconds, runs found, and whether there may be more."""
    asked = (
        "default",
        encode(chosen.words(), what="filter"),
        chosen.order,
        not chosen.oldest_first,
        chosen.after,
    )
    best, rows = 1e9, []
    for _ in range(times):
        begin = time.perf_counter()
        rows = await db.fetch(Statements()["search_runs"], *asked, 50)
        best = min(best, (time.perf_counter() - begin) * 1000)
    return best, sum(row["id"] is not None for row in rows), rows[0]["cursor"] is not None


async def measure(databases: Databases, arguments: Namespace) -> list[Row]:
    dsn = arguments.dsn or databases.create()
    now = datetime.now(UTC)
    db = await asyncpg.connect(dsn)
    if not arguments.dsn:
        await fill_history(db, arguments.runs, until=now)
        tell(f"{arguments.runs:,} runs in {(datetime.now(UTC) - now).total_seconds():.0f} s")
    rows = []
    for name, chosen in variants(now):
        if arguments.only not in name:
            continue
        filter_, sort, way = name.split(" | ")
        row: Row = {"filter": filter_, "sort": sort, "first": way}
        for place, one in (("", chosen), (" deep", deep(chosen, now))):
            ms, found, more = await measured(db, one)
            row |= {f"ms{place}": ms, f"runs{place}": found, f"more{place}": "more" if more else ""}
        rows.append(row)
        tell(" ".join(str(round(value, 1) if isinstance(value, float) else value) for value in row.values()))
    await db.close()
    return rows


if __name__ == "__main__":
    drive(__doc__, measure, runs=10_000_000, dsn="", only="")
