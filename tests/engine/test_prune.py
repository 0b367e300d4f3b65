"""What retention removes, one by one: which runs may go, and that all of a run goes."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another
from tests.engine.test_plans import TOUCHED
from tests.support.history import add_runs, month_ago

OLD = month_ago(6)
DAY = timedelta(days=1)


async def prune(engine: Engine, older_than: str = "90 days", **options: Any) -> tuple[int, UUID | None]:
    named = "".join(f", {name} => {value}" for name, value in options.items())
    (row,) = await engine.sql(f"SELECT * FROM prune('{older_than}'{named})")
    return row["runs"], row["next"]


async def left(engine: Engine) -> list[UUID]:
    """The runs that there still are; all that belongs to others is gone with them."""
    rows = await engine.sql("SELECT id FROM run_requests ORDER BY id")
    ids = {row["id"] for row in rows}
    for table in ("attempts", "run_log"):
        assert {row["run_id"] for row in await engine.sql(f"SELECT run_id FROM {table}")} <= ids
    return sorted(ids)


async def test_a_run_goes_by_when_it_ended_with_its_attempts_and_its_log(engine: Engine) -> None:
    await add_runs(engine.db, OLD, 3)
    late = await add_runs(engine.db, OLD + DAY, 1, finished=month_ago(0) - 30 * DAY)
    assert await prune(engine) == (3, None)
    assert await left(engine) == late


async def test_unfinished_runs_stay_however_old_they_are(engine: Engine) -> None:
    (retried, gone) = await add_runs(engine.db, OLD, 2)
    assert await engine.value("retry_run", retried) == "ready"
    assert await prune(engine) == (1, None)
    assert await left(engine) == [retried]
    assert gone != retried
    await engine.run_once()
    assert await engine.status(retried) == "completed"  # it can still be run to its end


async def test_filters_and_namespaces(engine: Engine) -> None:
    await add_runs(engine.db, OLD, task="a", queue="q")
    failed = await add_runs(engine.db, OLD, task="a", outcome="failed")
    other = await add_runs(engine.db, OLD, task="b", queue="q")
    elsewhere = await add_runs(engine.db, OLD, task="a", namespace="another")
    assert await prune(engine, status="'{completed,cancelled}'", task="'a'") == (1, None)
    assert await left(engine) == sorted([*failed, *other, *elsewhere])
    assert await prune(engine, queue_name="'q'") == (1, None)
    assert await prune(engine) == (1, None)
    assert await left(engine) == elsewhere
    assert await prune(engine, namespace="'another'") == (1, None)


async def test_a_call_is_bounded_and_says_where_to_go_on(engine: Engine) -> None:
    kept = await add_runs(engine.db, OLD, 3, outcome="failed")
    await add_runs(engine.db, OLD + DAY, 5)
    found, after = [], "NULL"
    while True:
        runs, last = await prune(engine, status="'{completed}'", most=2, after=after)
        found.append(runs)
        if last is None:
            break
        after = f"'{last}'"
    assert found == [0, 1, 2, 2, 0]
    assert await left(engine) == kept


async def test_a_dry_run_removes_nothing(engine: Engine) -> None:
    ids = await add_runs(engine.db, OLD, 3)
    assert await prune(engine, dry_run="true") == (3, None)
    assert await left(engine) == ids


async def test_the_newest_run_of_a_schedule_stays(engine: Engine) -> None:
    tick = json.dumps({"openqueue.tick": {"schedule": "k"}})
    ids = await add_runs(engine.db, OLD, 3, meta=tick)
    await engine.sql("SELECT add_schedule('k', 't', every => interval '1 day')")
    for run in ids:
        await engine.sql(
            "INSERT INTO schedule_ticks (namespace, schedule, at, fired_at, run_id)"
            " VALUES ('default', 'k', id_time($1), id_time($1), $1)",
            run,
        )
    forget = "SELECT prune_ticks(now() - interval '90 days')"
    assert (await engine.sql(forget))[0][0] == 0  # as long as their runs are there
    assert await prune(engine) == (2, None)
    assert await left(engine) == ids[-1:]
    assert (await engine.sql(forget))[0][0] == 2
    await engine.sql("SELECT remove_schedule('k')")
    assert await prune(engine) == (1, None)
    assert (await engine.sql(forget))[0][0] == 1


async def test_a_run_that_an_idempotency_key_answers_stays_until_the_key_is_over(engine: Engine) -> None:
    answered = await add_runs(engine.db, OLD, 1)
    await add_runs(engine.db, OLD + DAY, 2)
    await engine.sql(
        "INSERT INTO idempotency VALUES ('default', 't', 'k', $1, now() + interval '1 day')", answered[0]
    )
    assert await prune(engine) == (2, None)
    assert await left(engine) == answered
    await engine.sql("UPDATE idempotency SET expires = now()")
    assert await prune(engine) == (1, None)


async def test_what_somebody_is_running_again_is_left_out_and_not_waited_for(
    engine: Engine, another: Another
) -> None:
    (busy, _) = await add_runs(engine.db, OLD, 2)
    other = await another()
    async with other.db.transaction():
        assert await other.value("retry_run", busy) == "ready"
        await engine.db.execute("SET lock_timeout = '100ms'")  # nothing is waited for, so it does not matter
        assert await prune(engine) == (1, None)
    assert await left(engine) == [busy]
    assert await engine.status(busy) == "queued"


async def test_what_is_read_and_removed_follows_the_batch(engine: Engine) -> None:
    """Plans made while nothing is there are the same with many runs: by ids, never whole tables."""
    await prune(engine)
    await add_runs(engine.db, OLD, 20_000)
    async with engine.db.transaction():
        (before,) = await engine.sql(TOUCHED)
        assert (await prune(engine, most=100))[0] == 100
        (after,) = await engine.sql(TOUCHED)
    assert after["n"] - before["n"] < 100 * 40


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ("prune('0 days')", "older_than"),
        ("prune(NULL)", "older_than"),
        ("prune('-1 day')", "older_than"),
        ("prune('1 day', status => '{running}')", "status"),
        ("prune('1 day', status => '{}')", "status"),
        ("prune('1 day', most => 0)", "most"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_field(engine: Engine, call: str, field: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=field):
        await engine.sql(f"SELECT * FROM {call}")


async def test_workers_that_nobody_buried_are_forgotten(engine: Engine) -> None:
    await engine.sql(
        "INSERT INTO workers (id, namespace, name, host, pid, version, concurrency, beat_at)"
        " SELECT gen_random_uuid(), 'default', n, 'h', 1, '', 1, now() - age FROM"
        " (VALUES ('dead', interval '2 days'), ('alive', interval '1 minute')) w (n, age)"
    )
    assert (await engine.sql("SELECT forget_workers()"))[0][0] == 1
    assert [row["name"] for row in await engine.sql("SELECT name FROM workers")] == ["alive"]
