"""The end of an attempt: verdicts, what becomes of the job, and the fence."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another

OUTCOMES = ("completed", "failed", "retry", "snoozed", "cancelled", "released")
STATUS = {"completed": "completed", "failed": "failed", "retry": "retrying", "snoozed": "scheduled",
          "cancelled": "cancelled", "released": "queued"}  # fmt: skip
STORED = {"retry": "failed"}


async def started(engine: Engine, count: int = 1, **options: Any) -> list[Any]:
    await engine.add(count, **options)
    return [row["id"] for row in await engine.claim()]


async def output_of(engine: Engine, run: Any) -> Any:
    (row,) = await engine.sql("SELECT output FROM attempts WHERE run_id = $1", run)
    return row["output"] and json.loads(row["output"])


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_an_outcome_is_applied_once_then_repeated(engine: Engine, outcome: str) -> None:
    (run,) = await started(engine)
    verdicts = [
        await engine.finish([run], [outcome], errors=[{"type": "E", "retryable": True}], delays=[60.0])
        for _ in range(2)
    ]
    assert verdicts == [["applied"], ["repeated"]]
    assert await engine.status(run) == STATUS[outcome]
    (attempt,) = await engine.call("run_attempts", run)
    assert attempt["outcome"] == STORED.get(outcome, outcome)
    assert attempt["final"] == (outcome in ("completed", "failed", "cancelled"))


async def test_one_output_stands_for_all_those_that_completed(engine: Engine) -> None:
    runs = await started(engine, 4)
    outcomes = ["completed", "failed", "completed", "retry"]
    assert await engine.finish(runs, outcomes, outputs=["same"], delays=[None] * 3 + [9.0]) == ["applied"] * 4
    assert [await output_of(engine, run) for run in runs] == ["same", None, "same", None]
    runs = await started(engine, 2)
    assert await engine.finish(runs, "completed", outputs=["all"]) == ["applied"] * 2
    assert [await output_of(engine, run) for run in runs] == ["all", "all"]


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_whoever_holds_another_claim_writes_nothing(
    engine: Engine, another: Another, outcome: str
) -> None:
    (run,) = await started(engine)
    stranger = await another()
    assert await engine.finish([run], [outcome], claims=[engine.claim_number + 1], delays=[1.0]) == ["lost"]
    assert await stranger.finish([run], [outcome], claims=[engine.claim_number], delays=[1.0]) == ["lost"]
    assert await engine.finish([uuid4()], [outcome]) == ["lost"]
    assert await engine.status(run) == "running"
    assert await engine.call("run_attempts", run) == []


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("lost", [True, False])
async def test_what_was_taken_away_from_a_worker_is_lost_to_it_and_not_repeated(
    engine: Engine, outcome: str, lost: bool
) -> None:
    (run,) = await started(engine)
    await engine.sql("SELECT * FROM put_back($1, ARRAY[$2::uuid], $3)", engine.worker, run, lost)
    verdict = "repeated" if outcome == "released" and not lost else "lost"
    assert await engine.finish([run], [outcome], delays=[1.0]) == [verdict]
    assert await engine.status(run) == "queued"
    assert len(await engine.call("run_attempts", run)) == 1


async def test_a_batch_of_mixed_outcomes_gets_a_verdict_for_each_in_its_order(engine: Engine) -> None:
    runs = await started(engine, 6)
    unknown = uuid4()
    order = [runs[5], unknown, *runs[:5]]
    outcomes = ["released", "completed", *OUTCOMES[:5]]
    verdicts = await engine.finish(order, outcomes, delays=[60.0] * 7)
    assert verdicts == ["applied", "lost", *["applied"] * 5]
    assert [await engine.status(run) for run in order if run != unknown] == [
        STATUS[outcome] for run, outcome in zip(order, outcomes, strict=True) if run != unknown
    ]


async def test_a_run_that_is_named_twice_in_one_batch_harms_no_other(engine: Engine) -> None:
    a, b, c = await started(engine, 3)
    verdicts = await engine.finish(
        [a, a, b, b, None, c],
        ["retry", "failed", "completed", "completed", "failed", "failed"],
        delays=[5.0, *[None] * 5],
    )
    assert verdicts == ["applied", "applied", "applied", "applied", "lost", "applied"]
    assert [await engine.status(run) for run in (a, b, c)] == ["retrying", "completed", "failed"]


async def test_an_empty_batch_is_no_fault(engine: Engine) -> None:
    assert await engine.finish([], []) == []
    assert await engine.sql("SELECT finish_jobs($1, '{}', '{}', '{}')", engine.worker)


async def test_an_unknown_outcome_is_refused_and_nothing_is_written(engine: Engine) -> None:
    a, b = await started(engine, 2)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="unknown outcome"):
        await engine.finish([a, b], ["completed", "done"])
    assert await engine.status(a) == "running"


async def test_output_error_and_attempt_are_what_people_read(engine: Engine) -> None:
    good, bad = await started(engine, 2)
    await engine.finish(
        [good, bad], ["completed", "failed"], outputs=[{"n": 1}, None], errors=[None, {"type": "E"}]
    )
    run = await engine.run(good)
    assert (run["output"], run["error"], run["attempt"], run["worker"]) == ({"n": 1}, None, 1, engine.worker)
    assert run["started_at"] <= run["finished_at"]
    run = await engine.run(bad)
    assert (run["output"], run["error"]) == (None, {"type": "E"})


async def test_retries_count_and_snoozes_releases_and_losses_do_not(engine: Engine) -> None:
    (run,) = await started(engine)
    counted = []
    for outcome in ("retry", "snoozed", "released", "retry"):
        await engine.finish([run], [outcome], delays=[0.0])
        (row,) = await engine.claim()
        counted.append(row["attempt"])
    assert counted == [2, 2, 2, 3]
    await engine.finish([run])
    attempts = await engine.call("run_attempts", run)
    assert [(a["attempt"], a["counted"]) for a in attempts] == [(1, 1), (2, 2), (3, 2), (4, 2), (5, 3)]


async def test_a_retry_is_claimed_when_it_is_due_and_not_before(engine: Engine) -> None:
    (run,) = await started(engine)
    await engine.finish([run], ["retry"], delays=[3600.0])
    assert await engine.claim() == []
    assert 3590 < engine.position["due"] <= 3600
    await engine.sql("UPDATE jobs SET run_at = now()")
    assert [row["id"] for row in await engine.claim()] == [run]


@pytest.mark.parametrize(("outcome", "error"), [("retry", "E"), ("snoozed", "DeadlinePassed")])
async def test_a_retry_or_snooze_past_the_deadline_fails_for_good_and_says_why(
    engine: Engine, outcome: str, error: str
) -> None:
    soon = await engine.db.fetchval("SELECT now() + interval '1 minute'")
    in_time, too_late = await started(engine, 2, deadline=soon)
    errors = [{"type": "E"} if outcome == "retry" else None] * 2
    assert (
        await engine.finish([in_time, too_late], [outcome] * 2, errors=errors, delays=[1.0, 61.0])
        == ["applied"] * 2
    )
    assert await engine.status(in_time) == STATUS[outcome]
    run = await engine.run(too_late)
    assert (run["status"], run["error"]["type"]) == ("failed", error)


@pytest.mark.parametrize("outcome", ["retry", "snoozed", "released"])
async def test_what_would_go_on_is_cancelled_if_that_was_asked(engine: Engine, outcome: str) -> None:
    (run,) = await started(engine)
    assert await engine.value("cancel_run", run, None) == "cancelling"
    assert await engine.finish([run], [outcome], delays=[1.0]) == ["applied"]
    assert await engine.status(run) == "cancelled"
    assert await engine.finish([run], [outcome], delays=[1.0]) == ["repeated"]


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_a_job_that_somebody_has_locked_is_busy_and_the_others_do_not_wait_for_it(
    engine: Engine, another: Another, outcome: str
) -> None:
    other = await another()
    locked, free = await started(engine, 2)
    transaction = other.db.transaction()
    await transaction.start()
    assert await other.value("await_run", locked)
    async with asyncio.timeout(60):
        both = ([locked, free], [outcome] * 2)
        assert await engine.finish(*both, delays=[60.0] * 2) == ["busy", "applied"]
        assert await engine.finish(*both, delays=[60.0] * 2) == ["busy", "repeated"]
    assert [await engine.status(run) for run in (locked, free)] == ["running", STATUS[outcome]]
    await transaction.commit()
    assert await engine.finish([locked], [outcome], delays=[60.0]) == ["applied"]
    assert await engine.status(locked) == STATUS[outcome]
    assert len(await engine.call("run_attempts", locked)) == 1


async def test_a_claim_under_which_a_job_is_busy_is_not_forgotten(engine: Engine, another: Another) -> None:
    other = await another()
    locked, free = await started(engine, 2)
    async with other.db.transaction():
        await other.value("cancel_run", locked, None)
        assert await engine.finish([locked, free], closed=[1]) == ["busy", "applied"]
    assert [row["claim"] for row in await engine.sql("SELECT claim FROM claims")] == [1]
    assert await engine.finish([locked], closed=[1]) == ["applied"]
    assert await engine.sql("SELECT FROM claims") == []


async def test_what_is_no_longer_its_own_is_lost_and_not_busy(engine: Engine, another: Another) -> None:
    other = await another()
    (run,) = await started(engine)
    await engine.sql("SELECT put_back($1, ARRAY[$2::uuid], true)", engine.worker, run)
    async with other.db.transaction():
        await other.value("cancel_run", run, None)
        assert await engine.finish([run]) == ["lost"]


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_who_does_not_know_of_busy_waits_for_somebody_elses_change(
    engine: Engine, another: Another, outcome: str
) -> None:
    """As workers of the version before, and in other languages."""
    other, watch = await another(), await another()
    (run,) = await started(engine)
    transaction = other.db.transaction()
    await transaction.start()
    assert await other.value("await_run", run)
    call = (
        "SELECT finish_jobs($1, ARRAY[$2::uuid], ARRAY[$3::bigint], ARRAY[$4], delays => '{60}') AS verdicts"
    )
    finishing = asyncio.create_task(engine.sql(call, engine.worker, run, engine.claim_number, outcome))
    async with asyncio.timeout(60):
        await blocked(watch.db, engine.db.get_server_pid())
    await transaction.commit()
    assert [row["verdicts"] for row in await finishing] == [["applied"]]
    assert await engine.status(run) == STATUS[outcome]


async def test_what_attempts_say_is_written_though_somebody_has_one_of_them_locked(
    engine: Engine, another: Another
) -> None:
    other = await another()
    locked, free = await started(engine, 2)
    async with other.db.transaction():
        await other.value("cancel_run", locked, None)
        entries = (["log"] * 2, [0.0] * 2, ["{}"] * 2)
        async with asyncio.timeout(60):
            told = [engine.worker, [locked, free], [engine.claim_number] * 2]
            assert await engine.value("log_runs", *told, *entries) == []
            told[0] = uuid4()
            assert set(await engine.value("log_runs", *told, *entries)) == {locked, free}
    for run in (locked, free):
        assert await engine.events(run) == ["enqueued", "started", "log"]


async def test_who_awaits_a_run_is_told_of_its_end_and_only_then(engine: Engine, another: Another) -> None:
    heard: list[str] = []
    listener = await another()
    await listener.db.add_listener("openqueue", lambda *told: heard.append(told[-1]))
    awaited, other = await started(engine, 2)
    assert await engine.value("await_run", awaited)
    await engine.finish([other])
    await engine.finish([awaited], ["retry"], delays=[0.0])
    await engine.claim()
    await listener.sql("SELECT")
    assert heard == []
    await engine.finish([awaited])
    await listener.sql("SELECT")
    assert heard == [f'{{"done": ["{awaited}"]}}']
    assert not await engine.value("await_run", awaited)


async def test_a_closed_claim_is_forgotten_and_others_are_kept(engine: Engine) -> None:
    first = await started(engine)
    second = await started(engine)
    await engine.finish(first, closed=[1], claims=[1])
    assert [row["claim"] for row in await engine.sql("SELECT claim FROM claims")] == [2]
    await engine.finish(second, closed=[2])
    assert await engine.sql("SELECT FROM claims") == []


async def test_a_thousand_outcomes_are_stored_in_one_call(engine: Engine) -> None:
    await engine.bulk(1000)
    runs = [row["id"] for row in await engine.claim()]
    assert (
        await engine.finish(runs, [OUTCOMES[n % 6] for n in range(1000)], delays=[60.0] * 1000)
        == ["applied"] * 1000
    )
    assert len(await engine.sql("SELECT FROM attempts")) == 1000


async def test_a_job_that_two_others_have_locked_is_busy_too(engine: Engine, another: Another) -> None:
    locked, free = await engine.add(2)
    await engine.claim()
    others = [await another(), await another()]
    async with others[0].db.transaction(), others[1].db.transaction():
        for other in others:
            await other.sql("SELECT FROM jobs WHERE id = $1 FOR SHARE", locked)
        async with asyncio.timeout(60):
            assert await engine.finish([locked, free]) == ["busy", "applied"]
    assert await engine.finish([locked]) == ["applied"]
