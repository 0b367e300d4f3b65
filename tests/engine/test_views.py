"""What people read: runs, their timelines and the queues, for every status; and the table of states."""

from __future__ import annotations

import json

import pytest

from openqueue.runs.states import STATUSES
from tests.engine.calls import Engine
from tests.engine.test_control import STATES, in_state
from tests.support.invariants import faults


async def test_every_status_is_shown_listed_and_counted(engine: Engine) -> None:
    runs = {}
    for state in STATES:
        if state != "unknown":
            runs[state] = await in_state(engine, state)
            await engine.sql("UPDATE jobs SET namespace = 'put aside' WHERE seq IS NOT NULL")
    runs["blocked"] = await engine.add_one()
    gate = "UPDATE jobs SET state = 'b', gate = 'task other', place = seq, seq = NULL WHERE id = $1"
    await engine.sql(gate, runs["blocked"])
    await engine.sql("UPDATE jobs SET namespace = 'default'")
    shown = {state: await engine.status(run) for state, run in runs.items()}
    assert shown == {state: {"claimed": "queued"}.get(state, state) for state in runs}
    assert set(shown.values()) == {state.status for state in STATUSES}
    for one in STATUSES:
        listed = await engine.sql("SELECT * FROM find_runs(status => $1)", [one.status])
        assert {row["id"] for row in listed} == {
            run for name, run in runs.items() if shown[name] == one.status
        }
        assert {row["status"] for row in listed} == {one.status}
    assert len(await engine.sql("SELECT * FROM find_runs()")) == len(runs)
    (stats,) = await engine.call("queue_stats", "default")
    assert [stats[name] for name in ("queue", "queued", "running", "scheduled", "retrying")] == [
        "default",
        2,
        1,
        1,
        1,
    ]
    oldest = await engine.run(runs["queued"])
    assert stats["oldest_ready_at"] == oldest["run_at"]


async def test_a_runs_columns_follow_its_life(engine: Engine) -> None:
    run = await engine.add_one(payload={"a": 1}, meta={"m": 1}, tags=["x", "y"], job_key="k")
    row = await engine.run(run)
    assert (row["input"], row["meta"], row["tags"], row["key"]) == ({"a": 1}, {"m": 1}, ["x", "y"], "k")
    assert (row["attempt"], row["worker"], row["started_at"], row["finished_at"]) == (0, None, None, None)
    await engine.claim()
    row = await engine.run(run)
    assert (row["attempt"], row["worker"], row["finished_at"]) == (1, engine.worker, None)
    assert row["started_at"] is not None
    await engine.finish([run], ["retry"], errors=[{"type": "E"}], delays=[3600.0])
    row = await engine.run(run)
    assert (row["attempt"], row["worker"], row["error"]) == (1, None, {"type": "E"})
    assert (row["run_at"] - row["created_at"]).total_seconds() > 3000


async def test_the_timeline_tells_everything_in_order(engine: Engine) -> None:
    run = await engine.add_one()
    for outcome, error in (
        ("retry", {"type": "E", "retryable": True}),
        ("snoozed", None),
        ("released", None),
    ):
        await engine.claim()
        entry = (engine.worker, [run], [engine.claim_number], ["log"], [0.0], ["{}"])
        assert await engine.value("log_runs", *entry) == []
        await engine.finish([run], [outcome], errors=[error], delays=[0.0])
    await engine.claim()
    await engine.finish([run], ["failed"], errors=[{"type": "E", "retryable": False}])
    once = ["started", "log"]
    told = ["enqueued", *once, "retried", *once, "snoozed", *once, "released", "started", "failed"]
    assert await engine.events(run) == told
    await engine.value("retry_run", run)
    told += ["retried"]
    assert await engine.events(run) == told
    await engine.claim()
    assert await engine.events(run) == [*told, "started"]
    waiting = await engine.add_one()
    await engine.value("cancel_run", waiting, None)
    assert await engine.events(waiting) == ["enqueued", "cancelled"]


async def test_what_an_attempt_says_is_told_in_its_order_between_its_start_and_its_end(
    engine: Engine,
) -> None:
    """The times of lines are worked out from how long ago they were: they run late, some more, some less."""
    run = await engine.add_one()
    await engine.claim()
    for message, ago in (("too early", 3600.0), ("late", -0.1), ("said after it", 0.0)):
        entry = (engine.worker, [run], [engine.claim_number], ["log"], [ago], [json.dumps({"m": message})])
        assert await engine.value("log_runs", *entry) == []
    running = await engine.call("run_events", run)
    await engine.finish([run], ["retry"], errors=[{"type": "E"}], delays=[0.0])
    await engine.claim()
    ended = await engine.call("run_events", run)
    for events in (running, ended):
        said = [json.loads(event["data"])["m"] for event in events if event["event"] == "log"]
        assert said == ["too early", "late", "said after it"]
        assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert [event["event"] for event in running] == ["enqueued", "started", *["log"] * 3]
    assert [event["event"] for event in ended] == ["enqueued", "started", *["log"] * 3, "retried", "started"]


async def test_after_a_retry_by_hand_everything_tells_of_the_attempt_that_runs(engine: Engine) -> None:
    run = await engine.add_one()
    await engine.run_once("failed", errors={"type": "E", "message": "old"})
    assert await engine.value("retry_run", run) == "ready"
    assert (await engine.run(run))["error"] is None
    await engine.claim()
    entry = (engine.worker, [run], [engine.claim_number], ["progress"], [0.0], ['{"n": 1}'])
    assert await engine.value("log_runs", *entry) == []
    now = await engine.run(run)
    assert (now["status"], now["attempt"], now["error"]) == ("running", 1, None)
    events = await engine.call("run_events", run)
    assert [(event["event"], event["attempt"], event["number"]) for event in events] == [
        ("enqueued", None, None),
        ("started", 1, 1),
        ("retried", 1, 1),
        ("retried", None, 2),
        ("started", 1, 2),
        ("progress", 1, 2),
    ]
    assert json.loads(events[3]["data"]) == {"by": "hand"}


async def test_a_retry_by_hand_of_a_run_that_waits_for_one_is_told_and_of_a_queued_one_is_not(
    engine: Engine,
) -> None:
    run = await engine.add_one()
    await engine.value("retry_run", run)
    assert await engine.events(run) == ["enqueued"]
    await engine.run_once("retry", delays=3600.0, errors={"type": "E"})
    assert (await engine.run(run))["error"] == {"type": "E"}
    await engine.value("retry_run", run)
    assert await engine.events(run) == ["enqueued", "started", "retried", "retried"]
    assert (await engine.run(run))["error"] is None


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ("UPDATE jobs SET state = 'x'", "a state is one of"),
        ("UPDATE jobs SET seq = NULL", "a job has a seq unless"),
        ("UPDATE jobs SET state = 'b', seq = NULL", "a blocked job has a gate"),
        ("UPDATE jobs SET place = 1", "a gate has a place"),
    ],
)
async def test_a_row_that_breaks_a_rule_is_found_when_the_test_has_ended(
    engine: Engine, broken: str, rule: str
) -> None:
    await engine.add_one()
    assert await faults(engine.db) == []
    transaction = engine.db.transaction()
    await transaction.start()
    await engine.sql(broken)
    assert rule in " ".join(await faults(engine.db))
    await transaction.rollback()
