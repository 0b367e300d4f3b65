"""Statistics: what is told is added up once, quantiles are those of what happened, depths are bounded."""

from __future__ import annotations

import json
from math import log2
from typing import Any
from uuid import uuid4

import pytest

from openqueue.worker.storing.tally import BUCKETS, bucket
from tests.engine.calls import Engine

ADDED = "SELECT span, queue, task, completed, failed, waited, ran FROM stats ORDER BY span"


async def tell(engine: Engine, n: int = 1, *, at: str, **cell: Any) -> None:
    told = [{"queue": "mail", "task": "t", "waited": [1], "ran": [0, 1], **cell}]
    await engine.value("tell_stats", engine.worker, n, "default", json.dumps(told))
    await engine.sql(f"UPDATE stats_deltas SET at = {at} WHERE n = $1 AND worker = $2", n, engine.worker)


async def test_what_is_told_twice_counts_once(engine: Engine) -> None:
    for _ in range(2):
        await engine.value(
            "tell_stats", engine.worker, 1, "default", '[{"queue": "q", "task": "t", "completed": 3}]'
        )
    (row,) = await engine.call("recent_stats", "default", 5)
    assert (row["queue"], row["task"], row["completed"], row["failed"]) == ("q", "t", 3, 0)


async def test_it_is_added_up_by_the_minute_the_hour_and_the_day(engine: Engine) -> None:
    await engine.sql("SET timezone = 'Asia/Kolkata'")
    for n in (1, 2, 3):
        await tell(engine, n, at="date_trunc('hour', now()) - interval '3 days'", completed=n, failed=1)
    await engine.value("tell_stats", uuid4(), 1, "another", '[{"queue": "q", "task": "t", "completed": 3}]')
    assert await engine.value("roll_up_stats", "default", 2) == 2
    assert await engine.value("roll_up_stats", "default", 2) == 1
    assert await engine.value("roll_up_stats", "default", 2) == 0
    assert [tuple(row) for row in await engine.sql(ADDED)] == [
        (span, "mail", "t", 6, 3, [3], [0, 3]) for span in ("day", "hour", "minute")
    ]
    (day,) = await engine.sql(
        "SELECT at::text FROM (SELECT at AT TIME ZONE 'UTC' AS at FROM stats WHERE span = 'day') s"
    )
    assert day["at"].endswith("00:00:00")
    assert await engine.value("forget_stats", "default") == 1  # minutes are kept for two days
    assert [row["span"] for row in await engine.sql(ADDED)] == ["day", "hour"]


async def test_the_last_minute_is_not_added_up_and_is_read_all_the_same(engine: Engine) -> None:
    await engine.value(
        "tell_stats", engine.worker, 1, "default", '[{"queue": "q", "task": "t", "completed": 3}]'
    )
    await engine.sql("UPDATE stats_deltas SET at = now() + interval '1 hour'")
    await tell(engine, 2, at="now() - interval '1 minute'", completed=2)
    assert await engine.value("roll_up_stats", "default", 10) == 1
    rows = await engine.call("recent_stats", "default", 5)
    assert {row["queue"]: row["completed"] for row in rows} == {"mail": 2, "q": 3}
    rates = await engine.sql("SELECT queue, completed FROM queue_rates ORDER BY queue")
    assert [tuple(row) for row in rates] == [("mail", 2), ("q", 3)]
    assert [row["completed"] for row in await engine.sql("SELECT completed FROM task_rates")] == [5]


async def test_a_quantile_is_right_within_a_fifth(engine: Engine) -> None:
    spread = [0.0005 * 1.1**n for n in range(150)]
    counts = [0] * BUCKETS
    for seconds in spread:
        counts[bucket(seconds)] += 1
    for share in (0.01, 0.5, 0.95, 0.99):
        (row,) = await engine.sql("SELECT quantile($1, $2) AS q", counts, share)
        assert abs(log2(row["q"] / spread[round(share * len(spread)) - 1])) < 0.3
    for counts, share in (([], 0.5), ([0, 0], 0.5)):
        assert (await engine.sql("SELECT quantile($1, $2) AS q", counts, share))[0]["q"] is None
    assert (await engine.sql("SELECT quantile('{5}', 1) AS q"))[0]["q"] <= 0.0001


@pytest.mark.parametrize(
    "seconds", [-1.0, 0.0, 0.00009, 0.0001, 0.00012, 0.001, 0.7, 1.0, 59.0, 86_400.0, 1e7]
)
async def test_python_and_sql_count_in_the_same_place(engine: Engine, seconds: float) -> None:
    (row,) = await engine.sql("SELECT count_of($1) AS counts", seconds)
    assert row["counts"] == [0] * bucket(seconds) + [1]


async def test_what_ends_in_other_languages_is_counted(engine: Engine) -> None:
    (worker,) = await engine.sql("SELECT start_worker('w', lease => '50 seconds') AS id")
    for _ in range(4):
        await engine.add(queue_name="q")
    jobs = await engine.sql("SELECT id, claim FROM get_jobs($1, 4)", worker["id"])
    done, failed, retried, lost = (row["id"] for row in jobs)
    claim = jobs[0]["claim"]
    await engine.sql("SELECT complete_job($1, $2, $3)", worker["id"], done, claim)
    await engine.sql("SELECT complete_job($1, $2, $3)", worker["id"], done, claim)  # repeated
    await engine.sql("SELECT fail_job($1, $2, $3, give_up => true)", worker["id"], failed, claim)
    await engine.sql("SELECT fail_job($1, $2, $3)", worker["id"], retried, claim)
    await engine.sql("SELECT complete_job($1, $2, $3)", worker["id"], lost, claim + 1)
    (row,) = await engine.call("recent_stats", "default", 5)
    assert (row["queue"], row["completed"], row["failed"], row["retried"]) == ("q", 1, 1, 1)
    assert sum(row["waited"]) == sum(row["ran"]) == 3


async def depths(engine: Engine, most: int) -> list[Any]:
    return await engine.sql("SELECT * FROM queue_depths('default', $1)", most)


async def test_depths_are_counted_up_to_a_bound(engine: Engine) -> None:
    await engine.bulk(30, queue="long")
    await engine.bulk(3, queue="short", priority=5)
    await engine.add(2, queue_name="later")
    await engine.sql(
        "SELECT add_job('t', queue_name => 'later', run_at => now() + '1 h') FROM generate_series(1, 2)"
    )
    rows = {row["queue"]: row for row in await depths(engine, 10)}
    assert (rows["long"]["queued"], rows["long"]["capped"]) == (10, True)
    assert (rows["short"]["queued"], rows["short"]["capped"]) == (3, False)
    assert (rows["later"]["queued"], rows["later"]["scheduled"]) == (2, 2)
    assert rows["long"]["oldest_ready_at"] is not None
    exact = await engine.sql("SELECT queue, queued, running, scheduled FROM queue_stats")
    counted = await engine.call("queue_stats", "default")
    assert {tuple(row) for row in exact} == {
        (row["queue"], row["queued"], row["running"], row["scheduled"]) for row in counted
    }


async def test_what_runs_is_found_wherever_it_is_in_line(engine: Engine) -> None:
    await engine.bulk(20, task="unknown")
    await engine.bulk(2, task="known")
    claimed = await engine.claim(5, tasks=["known"])
    (row,) = await depths(engine, 10)
    assert (row["running"], row["queued"], row["capped"]) == (2, 10, True)
    running = await engine.call("running_jobs", "default", 1)
    assert [(row["worker"], row["id"], row["task"]) for row in running] == [
        (engine.worker, claimed[0]["id"], "known")
    ]
