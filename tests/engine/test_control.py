"""What people do to single runs, in every state a run can be in."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.engine.calls import NOTHING_TOLD, Engine, blocked
from tests.engine.conftest import Another

STATES = (
    "scheduled",
    "queued",
    "claimed",
    "running",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "expired",
    "unknown",
)


async def in_state(engine: Engine, state: str) -> UUID:
    """A run in this state; the only one there is."""
    if state == "unknown":
        return uuid4()
    run = await engine.add_one(run_at=await later(engine) if state == "scheduled" else None)
    if state == "expired":
        await engine.sql("UPDATE jobs SET deadline = now() WHERE id = $1", run)
        await engine.claim()
    elif state in ("claimed", "running"):
        await engine.claim(starting=0 if state == "claimed" else 1)
    elif state not in ("scheduled", "queued"):
        await engine.claim()
        await engine.finish([run], ["retry" if state == "retrying" else state], delays=[3600.0])
    assert await engine.status(run) == {"claimed": "queued"}.get(state, state)
    return run


@pytest.mark.parametrize(
    ("state", "answer", "after"),
    [
        ("scheduled", "cancelled", "cancelled"),
        ("queued", "cancelled", "cancelled"),
        ("claimed", "cancelling", "queued"),
        ("running", "cancelling", "running"),
        ("retrying", "cancelled", "cancelled"),
        ("completed", "finished", "completed"),
        ("failed", "finished", "failed"),
        ("cancelled", "finished", "cancelled"),
        ("expired", "finished", "expired"),
        ("unknown", "unknown", None),
    ],
)
async def test_cancel_answers_by_state(engine: Engine, state: str, answer: str, after: str | None) -> None:
    run = await in_state(engine, state)
    assert await engine.value("cancel_run", run, "no longer needed") == answer
    again = {"cancelled": "finished"}.get(answer, answer)
    assert await engine.value("cancel_run", run, None) == again
    if after:
        assert await engine.status(run) == after
    if answer == "cancelled":
        error = (await engine.run(run))["error"]
        assert error == {"type": "Cancelled", "message": "no longer needed"}


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("scheduled", "ready"),
        ("queued", "ready"),
        ("claimed", "running"),
        ("running", "running"),
        ("retrying", "ready"),
        *[(state, "finished") for state in ("completed", "failed", "cancelled", "expired")],
        ("unknown", "unknown"),
    ],
)
async def test_promote_answers_by_state(engine: Engine, state: str, answer: str) -> None:
    run = await in_state(engine, state)
    assert await engine.value("promote_run", run) == answer
    if answer == "ready":
        assert [row["id"] for row in await engine.claim(promote=False)] == [run]


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("scheduled", "ready"),
        ("queued", "ready"),
        ("claimed", "running"),
        ("running", "running"),
        ("retrying", "ready"),
        *[(state, "ready") for state in ("completed", "failed", "cancelled", "expired")],
        ("unknown", "unknown"),
    ],
)
async def test_retry_answers_by_state(engine: Engine, state: str, answer: str) -> None:
    run = await in_state(engine, state)
    assert await engine.value("retry_run", run) == answer
    if answer == "ready":
        assert [row["id"] for row in await engine.claim(promote=False)] == [run]


async def test_a_finished_run_that_is_retried_shows_once_and_its_attempts_do_not_collide(
    engine: Engine,
) -> None:
    run = await engine.add_one(max_attempts=2)
    for _ in range(3):
        await engine.run_once("retry", delays=0.0)
        await engine.run_once("failed", errors={"type": "E"})
        assert await engine.status(run) == "failed"
        assert await engine.value("retry_run", run) == "ready"
        listed = await engine.sql("SELECT status, attempt, output, finished_at FROM runs")
        assert [tuple(row) for row in listed] == [("queued", 0, None, None)]
    (row,) = await engine.claim()
    assert (row["attempt"], row["max_attempts"]) == (1, 2)
    assert [row["status"] for row in await engine.sql("SELECT status FROM runs")] == ["running"]
    await engine.finish([run])
    attempts = await engine.call("run_attempts", run)
    assert [a["attempt"] for a in attempts] == [1, 2, 3, 4, 5, 6, 7]
    assert [a["counted"] for a in attempts] == [1, 2, 1, 2, 1, 2, 1]
    assert [a["final"] for a in attempts] == [*[False] * 6, True]
    assert [row["status"] for row in await engine.sql("SELECT status FROM runs")] == ["completed"]


async def test_a_retried_run_gets_its_key_back_only_if_nobody_has_it(engine: Engine) -> None:
    run = await engine.add_one(job_key="k")
    await engine.run_once()
    other = await engine.add_one(job_key="k")
    assert other != run
    assert await engine.value("retry_run", run) == "ready"
    assert await engine.add_one(job_key="k", job_key_mode="skip") == other
    await engine.run_once()
    assert await engine.value("retry_run", run) == "ready"
    assert await engine.add_one(job_key="k", job_key_mode="skip") == run


async def test_a_retry_whose_key_is_taken_meanwhile_goes_on_without_it(
    engine: Engine, another: Another
) -> None:
    other, watch = await another(), await another()
    run = await engine.add_one(job_key="k")
    await engine.run_once()
    transaction = other.db.transaction()
    await transaction.start()
    await other.add_one(job_key="k")
    retrying = asyncio.create_task(engine.value("retry_run", run))
    await blocked(watch.db, engine.db.get_server_pid())
    await transaction.commit()
    assert await retrying == "ready"
    assert len(await engine.claim()) == 2


async def test_two_retries_at_once_make_one_attempt(engine: Engine, another: Another) -> None:
    other, watch = await another(), await another()
    run = await engine.add_one()
    await engine.run_once()
    transaction = other.db.transaction()
    await transaction.start()
    assert await other.value("retry_run", run) == "ready"
    second = asyncio.create_task(engine.value("retry_run", run))
    await blocked(watch.db, engine.db.get_server_pid())
    await transaction.commit()
    assert await second == "ready"
    assert len(await engine.claim()) == 1


async def test_a_cancel_and_a_finish_at_once_agree_on_one_end(engine: Engine, another: Another) -> None:
    other, watch = await another(), await another()
    run = await engine.add_one()
    await engine.claim()
    transaction = other.db.transaction()
    await transaction.start()
    assert await other.finish([run], claims=[0]) == ["lost"]
    other.worker = engine.worker
    assert await other.finish([run], claims=[engine.claim_number]) == ["applied"]
    cancelling = asyncio.create_task(engine.value("cancel_run", run, None))
    await blocked(watch.db, engine.db.get_server_pid())
    await transaction.commit()
    assert await cancelling == "finished"
    assert await engine.status(run) == "completed"


async def test_an_open_cancel_holds_up_neither_the_beats_nor_the_rescue_of_others(
    engine: Engine, another: Another
) -> None:
    canceller, rescuer = await another(), await another()
    await engine.value("register_worker", engine.worker, "default", "n", "h", 1, "v", None, 1)
    held, free = await engine.add(2)
    await engine.claim()
    async with asyncio.timeout(60):
        transaction = canceller.db.transaction()
        await transaction.start()
        assert await canceller.value("cancel_run", held, None) == "cancelling"
        assert (await beat(engine))["cancels"] == []
        await engine.sql("UPDATE workers SET beat_at = now() - interval '2 minutes'")
        found = await rescuer.call("rescue", rescuer.worker, timedelta(seconds=3), timedelta(seconds=60))
        assert [row["id"] for row in found] == [free]
        await transaction.rollback()
        found = await rescuer.call("rescue", rescuer.worker, timedelta(seconds=3), timedelta(seconds=60))
        assert [row["id"] for row in found] == [held]
    assert not (await beat(engine))["known"]


async def test_a_worker_is_told_of_a_cancel_with_every_beat_until_the_run_has_ended(engine: Engine) -> None:
    await engine.value("register_worker", engine.worker, "default", "n", "h", 1, "v", None, 1)
    run = await engine.add_one()
    await engine.claim()
    for _ in range(2):
        assert await engine.value("cancel_run", run, None) == "cancelling"
        assert (await beat(engine))["cancels"] == [str(run)]
    assert await engine.finish([run], ["cancelled"]) == ["applied"]
    assert (await beat(engine))["cancels"] == []
    assert await engine.sql("SELECT FROM cancels") == []


@pytest.mark.parametrize("starting", [0, 1])
@pytest.mark.parametrize("outcome", ["cancelled", "retry", "snoozed", "released", "put back", "lost"])
async def test_the_reason_for_a_cancel_is_kept_however_the_attempt_ends(
    engine: Engine, outcome: str, starting: int
) -> None:
    run = await engine.add_one()
    await engine.claim(starting=starting)
    assert await engine.value("cancel_run", run, "wrong tenant") == "cancelling"
    said = {"type": "ValueError", "message": "oh", "traceback": "…", "retryable": True, "causes": []}
    if outcome in ("put back", "lost"):
        put = "SELECT put_back($1, ARRAY[$2::uuid], $3)"
        await engine.sql(put, engine.worker, run, outcome == "lost")
    else:
        error = said if outcome == "retry" else None
        assert await engine.finish([run], [outcome], errors=[error], delays=[9.0]) == ["applied"]
    found = (await engine.run(run))["error"]
    assert (found["type"], found["message"], found["retryable"]) == ("Cancelled", "wrong tenant", False)
    (attempt,) = await engine.call("run_attempts", run)
    assert json.loads(attempt["error"]) == found
    if outcome == "retry":
        assert found["causes"] == [{"type": "ValueError", "message": "oh"}]
        assert found["traceback"] == "…"


async def test_a_cancel_without_a_reason_says_what_it_met(engine: Engine) -> None:
    for starting, said in ((0, "cancelled before it started"), (1, "cancelled while it ran")):
        run = await engine.add_one()
        await engine.claim(starting=starting)
        await engine.value("cancel_run", run, None)
        await engine.finish([run], ["cancelled"])
        assert (await engine.run(run))["error"]["message"] == said


async def test_an_attempt_that_cancels_itself_keeps_its_own_words(engine: Engine) -> None:
    run = await engine.add_one()
    await engine.run_once("cancelled", errors={"type": "Cancelled", "message": "nothing to do"})
    assert (await engine.run(run))["error"] == {"type": "Cancelled", "message": "nothing to do"}


async def test_deleting_a_finished_run_takes_its_whole_history(engine: Engine) -> None:
    run = await engine.add_one(meta={"a": 1})
    await engine.claim()
    await engine.value(
        "log_runs", engine.worker, [run], [engine.claim_number], ["log"], [0.0], ['{"message": "hi"}']
    )
    await engine.finish([run])
    await engine.sql("DELETE FROM runs WHERE status = 'completed'")
    for table in ("runs", "run_events", "run_requests", "attempts", "run_log"):
        assert await engine.sql(f"SELECT FROM {table}") == []
    assert await engine.value("retry_run", run) == "unknown"


@pytest.mark.parametrize("state", ["scheduled", "queued", "claimed", "running", "retrying"])
async def test_an_unfinished_run_cannot_be_deleted(engine: Engine, state: str) -> None:
    run = await in_state(engine, state)
    with pytest.raises(asyncpg.ObjectInUseError, match=f"run {run} is not finished"):
        await engine.sql("DELETE FROM runs")
    assert len(await engine.sql("SELECT FROM runs")) == 1


async def test_a_run_that_is_retried_while_it_is_deleted_stays(engine: Engine, another: Another) -> None:
    other, watch = await another(), await another()
    run = await engine.add_one()
    await engine.run_once()
    transaction = other.db.transaction()
    await transaction.start()
    assert await other.value("retry_run", run) == "ready"
    deleting = asyncio.create_task(engine.sql("DELETE FROM runs"))
    await blocked(watch.db, engine.db.get_server_pid())
    await transaction.commit()
    with pytest.raises(asyncpg.ObjectInUseError):
        await deleting
    assert [row["id"] for row in await engine.claim()] == [run]


async def beat(engine: Engine) -> Any:
    (row,) = await engine.call(
        "beat_worker",
        *(engine.worker, "running", 1, [str(engine.claim_number)], timedelta(seconds=15)),
        *NOTHING_TOLD,
    )
    return row


async def later(engine: Engine) -> Any:
    return await engine.db.fetchval("SELECT clock_timestamp() + interval '1 hour'")
