"""Acting on runs by hand: what is done, what is refused, and what is noted of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from openqueue.errors import InvalidOption
from openqueue.runs.acting import Acting
from openqueue.runs.filter import RunFilter
from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another
from tests.engine.test_control import in_state


async def act(engine: Engine, action: str, *runs: UUID, **how: Any) -> dict[UUID, str]:
    options = json.dumps(how.pop("options", {}))
    rows = await engine.sql(
        "SELECT * FROM act_on_runs($1, $2, $3, $4, $5, $6::text::jsonb)",
        action,
        list(runs),
        how.get("reason"),
        how.get("actor"),
        how.get("expected"),
        options,
    )
    return {row["id"]: row["outcome"] for row in rows}


async def noted(engine: Engine) -> list[tuple[str, str, str | None, list[UUID]]]:
    rows = await engine.sql("SELECT * FROM audit ORDER BY id")
    return [(row["action"], row["actor"], row["reason"], list(row["runs"])) for row in rows]


@pytest.mark.parametrize(
    ("action", "options", "answers"),
    [
        ("cancel", {}, {"scheduled": "cancelled", "completed": "finished", "running": "cancelling"}),
        ("retry", {}, {"failed": "ready", "completed": "ready", "running": "running", "retrying": "ready"}),
        ("promote", {}, {"scheduled": "ready", "running": "running", "completed": "finished"}),
        ("move", {"queue": "slow"}, {"scheduled": "moved", "running": "running", "failed": "finished"}),
        ("prioritize", {"priority": -5}, {"queued": "moved", "completed": "finished"}),
        ("rerun", {"input": {"b": 2}}, {"completed": "added", "running": "added"}),
        ("delete", {}, {"completed": "deleted", "scheduled": "waiting"}),
    ],
)
async def test_each_action_answers_by_state_and_notes_what_was_done(
    engine: Engine, action: str, options: dict[str, Any], answers: dict[str, str]
) -> None:
    runs = {}
    for state in answers:
        runs[state] = await in_state(engine, state)
        await engine.sql("UPDATE jobs SET namespace = 'put aside' WHERE seq IS NOT NULL")
    await engine.sql("UPDATE jobs SET namespace = 'default'")
    nobody = uuid4()
    found = await act(engine, action, *runs.values(), nobody, reason="it rains", actor="ann", options=options)
    assert found == {**{runs[state]: answer for state, answer in answers.items()}, nobody: "unknown"}
    done = [run for state, run in runs.items() if answers[state] not in ("finished", "running", "waiting")]
    assert await noted(engine) == [(action, "ann", "it rains", sorted(done))]
    for run in done if action != "delete" else ():
        rows = await engine.sql("SELECT data::text FROM run_events WHERE run_id = $1 ORDER BY at", run)
        told = [json.loads(row["data"]) for row in rows]
        assert [one["reason"] for one in told if one.get("by") == "ann"] == ["it rains"]


async def test_a_rerun_is_a_new_run_of_the_same_kind(engine: Engine) -> None:
    run = await in_state(engine, "completed")
    await engine.sql("UPDATE run_requests SET tags = '{vip}', meta = '{\"tenant\": 4}', priority = 7")
    (row,) = await engine.sql(
        "SELECT * FROM act_on_runs('rerun', $1, options => '{\"input\": {\"a\": 5}}')", [run]
    )
    again = await engine.run(row["made"])
    assert (again["input"], again["tags"], again["priority"]) == ({"a": 5}, ["vip"], 7)
    assert again["meta"] == {"tenant": 4, "openqueue.rerun_of": str(run)}
    assert again["status"] == "queued"


async def test_a_rerun_is_held_by_the_same_concurrency_key_and_stands_in_the_same_group(
    engine: Engine,
) -> None:
    """What Python computes of the arguments nobody else can: without its key it would run beside others."""
    run = await in_state(engine, "completed")
    await engine.sql("UPDATE run_requests SET concurrency_key = 'ann', key_limit = 1, group_key = 'g'")
    (row,) = await engine.sql(
        "SELECT made FROM act_on_runs('rerun', $1, options => '{\"input\": {}}')", [run]
    )
    (again,) = await engine.sql(
        "SELECT concurrency_key, key_limit, group_key FROM run_requests WHERE id = $1", row["made"]
    )
    assert tuple(again) == ("ann", 1, "g")


async def test_a_rerun_waits_for_its_turn_as_the_run_did(engine: Engine) -> None:
    """It keeps the group, and the concurrency key: what may run one at a time does so."""
    first, second = await engine.add(2, group_key="g", concurrency_key="account 7")
    await engine.run_once()
    assert [row["id"] for row in await engine.claim()] == [second]
    (row,) = await engine.sql(
        "SELECT * FROM act_on_runs('rerun', $1, options => '{\"input\": {\"a\": 5}}')", [first]
    )
    (again,) = await engine.sql("SELECT group_key, concurrency_key FROM jobs WHERE id = $1", row["made"])
    assert tuple(again) == ("g", "account 7")
    assert await engine.claim() == []


async def test_a_rerun_that_has_a_name_makes_each_run_once_however_often_it_is_said(
    engine: Engine, another: Another
) -> None:
    runs = [await in_state(engine, "completed"), await in_state(engine, "failed")]
    options = {"input": {"a": 5}, "once": "repair 7"}
    other = await another()
    async with other.db.transaction():  # of two at the same time the other one waits, and repeats
        assert set((await act(other, "rerun", runs[1], options=options)).values()) == {"added"}
        second = asyncio.create_task(act(engine, "rerun", *runs, options=options))
        await blocked(other.db, engine.db.get_server_pid())
    assert await second == {runs[0]: "added", runs[1]: "repeated"}
    rows = await engine.sql("SELECT id, meta ->> 'openqueue.rerun_of' AS origin FROM runs WHERE meta <> '{}'")
    made = {UUID(row["origin"]): row["id"] for row in rows}
    assert set(made) == set(runs)
    again = await engine.sql(
        "SELECT * FROM act_on_runs('rerun', $1, options => $2::text::jsonb)",
        [*runs, *made.values()],
        json.dumps(options),
    )
    assert {row["id"]: (row["outcome"], row["made"]) for row in again} == {
        **{run: ("repeated", made[run]) for run in runs},
        **dict.fromkeys(made.values(), ("repeated", None)),
    }
    assert await engine.sql("SELECT count(*) AS n FROM run_requests") == [(4,)]
    options["once"] = "repair 8"
    assert await act(engine, "rerun", made[runs[0]], options=options) == {made[runs[0]]: "added"}


async def test_only_what_is_in_the_expected_state_is_acted_on(engine: Engine) -> None:
    failed = await in_state(engine, "failed")
    assert await act(engine, "retry", failed, expected=["cancelled"]) == {failed: "unexpected"}
    assert await engine.status(failed) == "failed"
    assert await noted(engine) == []
    assert await act(engine, "retry", failed, expected=["failed"]) == {failed: "ready"}


async def test_a_move_changes_the_queue_and_who_acts_is_the_user_unless_said(engine: Engine) -> None:
    run = await in_state(engine, "scheduled")
    await act(engine, "move", run, options={"queue": "slow"})
    assert (await engine.run(run))["queue"] == "slow"
    (user,) = await engine.sql("SELECT session_user::text AS name")
    assert [entry[1] for entry in await noted(engine)] == [user["name"]]


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("'explode', '{}'", "action is 'explode'"),
        ("'retry', NULL", "ids is null"),
        ("'move', '{}'", "options does not fit move"),
        ("'retry', '{}', options => '{\"queue\": \"x\"}'", "options does not fit retry"),
        ("'cancel', '{}', options => '{\"once\": \"x\"}'", "options has a once"),
        ("'rerun', '{}', options => '{\"input\": {}, \"once\": \"\"}'", "options has a once"),
        ("'rerun', '{}', options => '{\"input\": {}, \"onec\": \"x\"}'", "options is"),
        ("'cancel', '{}', options => '[]'", "options is"),
        ("'prioritize', '{}', options => NULL", "options does not fit prioritize"),
        ("'prioritize', '{}', options => '{\"priority\": \"high\"}'", "options has a priority"),
        ("'prioritize', '{}', options => '{\"priority\": 1.5}'", "options has a priority"),
        ("'prioritize', '{}', options => '{\"priority\": 99999999999}'", "options has a priority"),
        ("'move', '{}', options => '{\"queue\": null}'", "options has a queue"),
        ("'cancel', '{}', expected => '{done}'", "expected is"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_name(engine: Engine, call: str, fault: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=fault):
        await engine.sql(f"SELECT * FROM act_on_runs({call})")


async def test_null_means_the_default_to_who_acts(engine: Engine) -> None:
    run = await in_state(engine, "scheduled")
    (row,) = await engine.sql(
        "SELECT outcome FROM act_on_runs('cancel', ARRAY[$1::uuid], options => NULL, namespace => NULL)", run
    )
    assert row["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("action", "how", "option"),
    [
        ("explode", {}, "action"),
        ("move", {}, "queue"),
        ("retry", {"queue": "x"}, "queue"),
        ("prioritize", {"priority": 70_000}, "priority"),
        ("retry", {"expected": ["done"]}, "expected"),
    ],
)
async def test_python_refuses_it_before_it_asks(action: Any, how: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        await Acting(None, "default").act(action, RunFilter(), **how)  # type: ignore[arg-type]
    assert refused.value.option == option
