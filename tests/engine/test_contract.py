"""What a worker in any language may rely on: claim one, beat, end; who is dead when; what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another
from tests.support.eventually import eventually


async def start(engine: Engine, *, lease: str | None = "30 seconds", queues: Any = None) -> UUID:
    lease_of = "NULL" if lease is None else f"'{lease}'"
    (row,) = await engine.sql(
        f"SELECT start_worker('w', lease => {lease_of}, queues => $1::text[]) AS id", queues
    )
    found: UUID = row["id"]
    return found


async def get(engine: Engine, worker: UUID, n: int = 1, **how: Any) -> list[Any]:
    types = {"tasks": "text[]", "queues": "text[]", "claim_number": "bigint"}
    named = "".join(f", {name} => ${at}::{types[name]}" for at, name in enumerate(how, 3))
    return await engine.sql(f"SELECT * FROM get_jobs($1, $2{named})", worker, n, *how.values())


async def value(engine: Engine, text: str, *arguments: Any) -> Any:
    rows = await engine.sql(f"SELECT {text}", *arguments)
    return rows[0][0]


async def test_a_job_is_claimed_by_task_and_queue_and_shown_as_running(engine: Engine) -> None:
    other, run = await engine.add_one(task="other"), await engine.add_one(task="t", payload={"a": 1})
    worker = await start(engine, queues=["default"])
    (row,) = await engine.sql("SELECT * FROM get_job($1, ARRAY['t'])", worker)
    assert (row["id"], row["attempt"], json.loads(row["payload"])) == (run, 1, {"a": 1})
    assert [await engine.status(one) for one in (other, run)] == ["queued", "running"]
    assert await get(engine, worker, queues=["elsewhere"]) == []


async def test_who_asks_again_with_the_same_number_is_answered_the_same_jobs(engine: Engine) -> None:
    runs = await engine.add(3)
    worker = await start(engine)
    first = await get(engine, worker, 2, claim_number=7)
    await value(engine, "complete_job($1, $2, 7)", worker, runs[0])
    again = await get(engine, worker, 2, claim_number=7)
    assert [[row["id"] for row in rows] for rows in (first, again)] == [runs[:2], runs[1:2]]
    assert (again[0]["claim"], again[0]["attempt"]) == (7, 1)


async def test_a_verdict_tells_what_was_stored(engine: Engine) -> None:
    (run,) = await engine.add()
    worker = await start(engine)
    ((_, claim, *_),) = await get(engine, worker)
    assert await value(engine, "complete_job($1, $2, $3)", uuid4(), run, claim) == "lost"
    assert await value(engine, "complete_job($1, $2, $3, '[1]')", worker, run, claim) == "applied"
    assert await value(engine, "complete_job($1, $2, $3, '[1]')", worker, run, claim) == "repeated"
    assert await value(engine, "fail_job($1, $2, $3)", worker, run, claim) == "lost"
    assert (await engine.run(run))["output"] == [1]
    assert await engine.sql("SELECT FROM claims") == []


async def test_a_claim_goes_with_the_last_of_its_jobs(engine: Engine) -> None:
    runs = await engine.add(3)
    worker = await start(engine)
    claim = (await get(engine, worker, 3))[0]["claim"]
    await value(engine, "complete_jobs($1, $2, ARRAY[$3::bigint])", worker, runs[:1], claim)
    assert len(await engine.sql("SELECT FROM claims")) == 1
    verdicts = await value(
        engine, "fail_jobs($1, $2, ARRAY[$3::bigint], ARRAY['no'])", worker, runs[1:], claim
    )
    assert (verdicts, await engine.sql("SELECT FROM claims")) == (["applied", "applied"], [])


async def test_a_failure_is_repeated_by_the_policy_until_the_attempts_are_used_up(engine: Engine) -> None:
    run = await engine.add_one(max_attempts=2)
    worker = await start(engine)
    ((_, claim, *_),) = await get(engine, worker)
    before = datetime.now(UTC)
    assert await value(engine, "fail_job($1, $2, $3, 'no answer')", worker, run, claim) == "applied"
    found = await engine.run(run)
    assert timedelta(seconds=1) < found["run_at"] - before < timedelta(seconds=60)
    assert (found["status"], found["error"]) == (
        "retrying",
        {"type": "Error", "message": "no answer", "retryable": True},
    )
    await engine.sql("SELECT promote_run($1)", run)
    ((_, claim, *_),) = await get(engine, worker)
    details = '{"type": "E", "message": "no"}'
    await value(engine, "fail_job($1, $2, $3, details => $4)", worker, run, claim, details)
    found = await engine.run(run)
    assert (found["status"], found["attempt"]) == ("failed", 2)
    assert found["error"] == {"type": "E", "message": "no", "retryable": False}


async def test_a_failure_may_say_when_or_that_there_is_no_sense_in_it(engine: Engine) -> None:
    later, never = await engine.add(2)
    worker = await start(engine)
    claim = (await get(engine, worker, 2))[0]["claim"]
    at = datetime.now(UTC) + timedelta(hours=3)
    await value(engine, "fail_job($1, $2, $3, retry_at => $4)", worker, later, claim, at)
    await value(engine, "fail_job($1, $2, $3, give_up => true)", worker, never, claim)
    found = await engine.run(later)
    assert (found["status"], abs(found["run_at"] - at) < timedelta(seconds=1)) == ("retrying", True)
    assert await engine.status(never) == "failed"


@pytest.mark.parametrize(
    ("policy", "attempt", "low", "high"),
    [
        (None, 1, 2.03, 3.4),
        (None, 400, 16519, 27534),
        ({"kind": "fixed", "delay": 7, "jitter": 0}, 3, 7, 7),
        ({"kind": "exponential", "base": 2, "factor": 3, "cap": 50, "jitter": 0}, 3, 18, 18),
        ({"kind": "exponential", "base": 2, "factor": 3, "cap": 50, "jitter": 0}, 32767, 50, 50),
        ({"kind": "exponential", "base": 0, "factor": 1, "cap": 50, "jitter": 0.5}, 9, 0, 0),
        ({"kind": "custom", "function": "f"}, 1, 2.03, 3.4),
    ],
)
async def test_the_wait_is_what_the_tasks_workers_have_published(
    engine: Engine, policy: Any, attempt: int, low: float, high: float
) -> None:
    if policy:
        tasks = [
            {"task": "t", "queue": "q", "priority": 0, "max_attempts": 5, "options": {"backoff": policy}}
        ]
        await engine.sql("SELECT publish_tasks('default', 'p', $1)", json.dumps(tasks))
    waits = [await value(engine, "retry_delay('default', 't', $1)", attempt) for _ in range(20)]
    assert low - 1e-6 <= min(waits)
    assert max(waits) <= high + 1e-6


async def test_a_run_that_is_to_be_cancelled_is_told_and_ends_so(engine: Engine) -> None:
    (run,) = await engine.add()
    worker = await start(engine)
    ((_, claim, *_),) = await get(engine, worker)
    assert await value(engine, "extend_claim($1, $2, $3)", worker, run, claim) == "held"
    await engine.sql("SELECT cancel_run($1, 'enough')", run)
    assert await value(engine, "extend_claim($1, $2, $3)", worker, run, claim) == "cancelling"
    assert (await engine.sql("SELECT cancels FROM heartbeat($1)", worker))[0][0] == [run]
    await value(engine, "fail_job($1, $2, $3, 'stopped')", worker, run, claim)
    assert (await engine.status(run), (await engine.run(run))["error"]["message"]) == ("cancelled", "enough")


async def test_a_worker_that_beats_within_its_lease_lives_and_one_that_does_not_is_dead(
    engine: Engine,
) -> None:
    run = await engine.add_one()
    worker = await start(engine, lease="40 seconds")
    await get(engine, worker)
    moved = """UPDATE workers SET beat_at = beat_at - $1::interval,
        suspected_at = suspected_at - $1::interval, started_at = started_at - interval '1 day'"""
    for ago, dead in ((timedelta(seconds=38), False), (timedelta(seconds=6), True)):
        await engine.sql(moved, ago)
        rows = await engine.sql("SELECT id FROM rescue($1) WHERE id IS NOT NULL", uuid4())
        assert ([row["id"] for row in rows], ago) == ([run] if dead else [], ago)
    (beat,) = await engine.sql("SELECT * FROM heartbeat($1)", worker)
    assert beat["known"] is False
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="given up for dead"):
        await get(engine, worker)


async def test_the_session_of_a_worker_without_a_lease_is_its_life(engine: Engine, another: Another) -> None:
    (run,) = await engine.add()
    other = await another()
    worker = await start(other, lease=None)
    await get(other, worker)
    await other.sql("SELECT * FROM heartbeat($1)", worker)
    ((suspected,),) = await engine.sql("SELECT suspected_at FROM workers")
    assert suspected is None
    rescued = "SELECT id FROM rescue($1, gone => '0 s') WHERE id IS NOT NULL"
    assert await engine.sql(rescued, uuid4()) == []
    await other.db.close()

    async def look() -> list[Any]:
        return await engine.sql(rescued, uuid4())

    await engine.sql("UPDATE workers SET started_at = started_at - interval '1 day'")
    assert [row["id"] for row in await eventually(look, timeout=60)] == [run]


async def test_jobs_of_a_claim_whose_reply_was_lost_go_back(engine: Engine) -> None:
    (run,) = await engine.add()
    worker = await start(engine)
    await get(engine, worker, claim_number=1)
    await engine.sql("UPDATE claims SET claimed_at = claimed_at - interval '1 minute'")
    beat = "SELECT released FROM heartbeat($1, claims => $2)"
    assert (await engine.sql(beat, worker, None))[0][0] == 0
    assert (await engine.sql(beat, worker, [1]))[0][0] == 0
    assert (await engine.sql(beat, worker, []))[0][0] == 1
    assert await engine.status(run) == "queued"


async def test_all_in_one_transaction_leaves_no_trace_when_it_fails(engine: Engine) -> None:
    (run,) = await engine.add()
    worker = await start(engine)
    transaction = engine.db.transaction()
    await transaction.start()
    await get(engine, worker)
    await transaction.rollback()
    assert (await engine.status(run), await engine.call("run_attempts", run)) == ("queued", [])


async def test_a_line_and_progress_are_written_by_who_holds_the_run(engine: Engine) -> None:
    (run,) = await engine.add()
    worker = await start(engine)
    ((_, claim, *_),) = await get(engine, worker)
    assert (
        await value(engine, "log_run($1, $2, $3, 'hi', 'warning', '{\"n\": 1}')", worker, run, claim) is True
    )
    assert await value(engine, "progress_run($1, $2, $3, '{\"done\": 1}')", worker, run, claim) is True
    assert await value(engine, "log_run($1, $2, $3, 'hi')", uuid4(), run, claim) is False
    found = [json.loads(row["data"]) for row in await engine.sql("SELECT data FROM run_log ORDER BY n")]
    assert found == [{"level": "warning", "message": "hi", "fields": {"n": 1}}, {"done": 1}]


REFUSED = {
    "worker": [
        "complete_job(NULL, new_id(), 1)",
        "heartbeat(NULL)",
        "get_job(NULL)",
        "set_bells(NULL, 'default', '{*}')",
    ],
    "id": ["complete_job(new_id(), NULL, 1)", "edit_run(NULL)"],
    "claim": ["fail_job(new_id(), new_id(), NULL)"],
    "ids": [
        "complete_jobs(new_id(), ARRAY[NULL]::uuid[], '{1}')",
        "reschedule_jobs(NULL)",
        "permanently_fail_jobs(NULL)",
        "complete_jobs(new_id(), ARRAY[ARRAY[new_id()], ARRAY[new_id()]], '{1}')",
    ],
    "claims": [
        "fail_jobs(new_id(), ARRAY[new_id(), new_id()], '{1,2,3}')",
        "complete_jobs(new_id(), '{}', NULL)",
        "fail_jobs(new_id(), ARRAY[new_id(), new_id()], '{{1},{2}}')",
    ],
    "output": ["complete_job(new_id(), new_id(), 1, to_jsonb(repeat('x', 1100000)))"],
    "outputs": ["complete_jobs(new_id(), ARRAY[new_id()], '{1}', '{1,2}')"],
    "details": ["fail_job(new_id(), new_id(), 1, details => '[]')"],
    "retry_at": ["fail_job(new_id(), new_id(), 1, retry_at => 'infinity')"],
    "lease": ["start_worker(lease => '1 second')", "heartbeat(new_id(), '2 minutes')"],
    "queues": [
        "start_worker(queues => '{}')",
        "start_worker(queues => '{*}')",
        "start_worker(queues => '{{a,b},{c,d}}')",
        "set_bells(new_id(), 'default', NULL)",
        "set_bells(new_id(), 'default', '{a,NULL}')",
    ],
    "outcomes": ["finish_jobs(new_id(), ARRAY[new_id()], '{1}', '{done}')"],
    "ahead": ["ensure_partitions(-1)", "ensure_partitions(32767)"],
    "most": [
        "queue_depths('default', -1)",
        "queue_depths('default', 2147483647)",
        "prune('1 day', most => 0)",
    ],
    "older_than": ["prune('-1 day')", "prune('100000 years')"],
    "ticks": [
        "backfill_schedule('k', '{}')",
        "backfill_schedule('k', NULL)",
        "backfill_schedule('k', '[1]')",
        """backfill_schedule('k', '[{"at": "soon"}]')""",
        """backfill_schedule('k', '[{"at": null}]')""",
    ],
    "concurrency": ["start_worker(concurrency => 0)"],
    "namespace": ["start_worker(namespace => '')"],
    "n": ["get_jobs(new_id(), 0)"],
    "claim_number": ["get_job(new_id(), claim_number => 0)"],
    "level": ["log_run(new_id(), new_id(), 1, 'x', 'loud')"],
    "fields": ["log_run(new_id(), new_id(), 1, 'x', fields => '[]')"],
    "progress": ["progress_run(new_id(), new_id(), 1, '1')", "progress_run(new_id(), new_id(), 1, NULL)"],
    "payload": ["edit_run(new_id(), '[]')"],
    "queue_name": ["edit_run(new_id(), queue_name => '*')", "reschedule_jobs('{}', queue_name => '')"],
    "priority": ["reschedule_jobs('{}', priority => 40000)"],
    "max_attempts": ["reschedule_jobs('{}', max_attempts => 0)"],
    "run_at": ["reschedule_jobs('{}', 'infinity')"],
    "deadline": ["edit_run(new_id(), run_at => 'tomorrow', deadline => 'today')"],
    "meta": ["edit_run(new_id(), meta => '[]')"],
    "job_key": ["remove_job('')", "remove_job(NULL)"],
}


@pytest.mark.parametrize(
    ("field", "call"), [(field, call) for field, calls in REFUSED.items() for call in calls]
)
async def test_a_wrong_argument_is_refused_by_its_name(engine: Engine, field: str, call: str) -> None:
    await engine.sql("SELECT add_schedule('k', 't', every => '1 day')")
    with pytest.raises(asyncpg.InvalidParameterValueError) as caught:
        await engine.sql(f"SELECT {call}")
    assert (caught.value.column_name, bool(caught.value.hint)) == (field, True)


async def test_a_worker_that_lives_by_a_lease_is_nobodys_suspect_before_it_runs_out(engine: Engine) -> None:
    """Who suspects it looks again when the lease ends, and meanwhile at nobody else."""
    worker = await start(engine, lease="50 seconds")
    await engine.sql("SELECT * FROM heartbeat($1, '50 seconds')", worker)
    aged = "started_at = started_at - interval '1 day', beat_at = beat_at - interval '20 seconds'"
    await engine.sql(f"UPDATE workers SET {aged}")
    assert await engine.sql("SELECT * FROM rescue($1)", uuid4()) == []
    await engine.sql("UPDATE workers SET suspected_at = clock_timestamp() - interval '1 second'")
    (row,) = await engine.sql("SELECT * FROM rescue($1)", uuid4())
    assert (row["id"], row["worker"], int(row["verdict"]) <= 2000) == (None, worker, True)
