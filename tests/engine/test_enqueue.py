"""Enqueueing in SQL: visible with the commit, keys, ids, namespaces, and bad input."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another

NAMESPACES = ("default", "other")
MOMENT = timedelta(milliseconds=2)  # ids tell whole ones


async def stored(engine: Engine) -> int:
    (row,) = await engine.sql("SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM run_requests) AS n")
    return int(row["n"])


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_a_job_is_visible_after_the_commit_only(
    engine: Engine, another: Another, isolation: Any
) -> None:
    writer = await another()
    transaction = writer.db.transaction(isolation=isolation)
    await transaction.start()
    run = await writer.add_one()
    assert await engine.claim() == []
    await transaction.commit()
    assert [row["id"] for row in await engine.claim()] == [run]


async def test_of_a_rolled_back_enqueue_nothing_is_left(engine: Engine) -> None:
    transaction = engine.db.transaction()
    await transaction.start()
    await engine.add_one(job_key="k", meta={"a": 1}, tags=["x"])
    await transaction.rollback()
    assert await stored(engine) == 0
    assert await engine.claim() == []


async def test_a_savepoint_that_is_rolled_back_takes_its_job_and_no_other(engine: Engine) -> None:
    async with engine.db.transaction():
        kept = await engine.add_one()
        savepoint = engine.db.transaction()
        await savepoint.start()
        await engine.add_one(queue_name="another")
        await savepoint.rollback()
    assert [row["id"] for row in await engine.claim()] == [kept]


async def test_a_batch_answers_for_each_job_in_order_and_of_two_equal_keys_one_wins(engine: Engine) -> None:
    rows = await engine.sql(
        """SELECT * FROM add_jobs(ARRAY['{"task": "b", "job_key": "k", "payload": {"n": 1}}',
            '{"task": "a"}', '{"task": "b", "job_key": "k", "payload": {"n": 2}}',
            '{"task": "b", "job_key": "k", "job_key_mode": "skip", "payload": {"n": 3}}',
            '{"task": "c", "job_key": "k", "payload": {"n": 4}}']::jsonb[])"""
    )
    assert [row["ordinal"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["outcome"] for row in rows] == ["added", "added", "replaced", "existing", "added"]
    assert rows[0]["id"] == rows[2]["id"] == rows[3]["id"]
    claimed = {row["id"]: row for row in await engine.claim()}
    assert len(claimed) == 3
    assert claimed[rows[0]["id"]]["input"] == '{"n": 2}'


async def test_an_empty_batch_is_no_fault(engine: Engine) -> None:
    assert await engine.sql("SELECT * FROM add_jobs('{}')") == []
    assert await engine.sql("SELECT * FROM add_batch('{}', '{}')") == []
    (row,) = await engine.sql(
        """SELECT * FROM add_batch('{t}', '{"{}"}', queues => '{}', priorities => '{}', max_attempts => '{}',
            keys => '{k}')"""
    )
    assert row["outcome"] == "added"


async def test_ids_of_a_batch_are_in_its_order_and_so_are_the_places_in_line(engine: Engine) -> None:
    ids = await engine.bulk(500)
    assert ids == sorted(ids)
    assert [row["id"] for row in await engine.claim()] == ids


async def test_what_is_left_out_comes_from_the_catalogue(engine: Engine) -> None:
    published = '[{"task": "t", "queue": "slow", "priority": 7, "max_attempts": 3}]'
    await engine.call("publish_tasks", "default", "pool", published)
    run = await engine.run(await engine.add_one())
    assert (run["queue"], run["priority"], run["max_attempts"]) == ("slow", 7, 3)
    run = await engine.run(await engine.add_one(queue_name="fast", priority=1, max_attempts=2))
    assert (run["queue"], run["priority"], run["max_attempts"]) == ("fast", 1, 2)
    run = await engine.run(await engine.add_one(job_key="k", priority=-4))
    assert (run["queue"], run["priority"], run["max_attempts"]) == ("slow", -4, 3)
    run = await engine.run(await engine.add_one(task="unknown"))
    assert (run["queue"], run["priority"], run["max_attempts"]) == ("default", 0, 25)


# Ids.


async def test_an_id_brought_along_makes_the_enqueue_repeatable(engine: Engine) -> None:
    (row,) = await engine.sql("SELECT new_id() AS id")
    add = "SELECT * FROM add_batch('{t}', '{\"{}\", \"{}\"}', ids => ARRAY[$1, $1]::uuid[])"
    assert [(r["id"], r["outcome"]) for r in await engine.sql(add, row["id"])] == [
        (row["id"], "added"),
        (row["id"], "existing"),
    ]
    await engine.run_once()
    assert [r["outcome"] for r in await engine.sql(add, row["id"])] == ["existing", "existing"]
    assert await engine.claim() == []


async def test_new_ids_are_of_version_7_in_order_of_time_and_tell_their_time(engine: Engine) -> None:
    rows = await engine.sql(
        "SELECT clock_timestamp() AS before, new_id() AS id, clock_timestamp() AS after"
        " FROM generate_series(1, 200)"
    )
    for row in rows:
        assert UUID(str(row["id"])).version == 7
        (told,) = await engine.sql("SELECT id_time($1) AS at", row["id"])
        assert row["before"] - MOMENT <= told["at"] <= row["after"] + MOMENT
    milliseconds = [str(row["id"])[:13] for row in rows]
    assert milliseconds == sorted(milliseconds)


# Bad input.


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("task", "''"),
        ("task", "NULL"),
        ("task", "repeat('t', 201)"),
        ("payload", "'t', '[]'"),
        ("payload", "'t', '1'"),
        ("payload", "'t', jsonb_build_object('a', repeat('é', 1024 * 1024))"),
        ("payload", "'t', jsonb_build_object('a', repeat('xy', 1024 * 1024))"),
        ("queue_name", "'t', queue_name => ''"),
        ("queue_name", "'t', queue_name => '*'"),
        ("priority", "'t', priority => 40000"),
        ("max_attempts", "'t', max_attempts => 0"),
        ("max_attempts", "'t', max_attempts => 40000"),
        ("run_at", "'t', run_at => 'infinity'"),
        ("run_at", "'t', run_at => '20000-01-01'"),
        ("run_at", "'t', run_at => '0044-03-15 BC'"),
        ("deadline", "'t', deadline => '20000-01-01'"),
        ("deadline", "'t', deadline => '-infinity'"),
        ("deadline", "'t', run_at => now() + '2 days', deadline => now() + '1 day'"),
        ("job_key", "'t', job_key => ''"),
        ("job_key", "'t', job_key => repeat('k', 501)"),
        ("job_key_mode", "'t', job_key => 'k', job_key_mode => 'debounce'"),
        ("meta", "'t', meta => '[1]'"),
        ("namespace", "'t', namespace => ''"),
        ("tags", "'t', tags => ARRAY['a', NULL]"),
    ],
)
async def test_bad_input_is_refused_with_the_field_named_and_nothing_is_stored(
    engine: Engine, field: str, arguments: str
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=rf"^{field} ") as refused:
        await engine.sql(f"SELECT add_job({arguments})")
    assert refused.value.column_name == field
    assert refused.value.hint
    assert await stored(engine) == 0


async def test_null_means_the_default(engine: Engine) -> None:
    await engine.sql("SELECT add_job('t', NULL, namespace => NULL)")
    await engine.sql('SELECT add_jobs(ARRAY[\'{"task": "t", "payload": null}\'::jsonb], NULL)')
    rows = await engine.sql("SELECT namespace, input FROM runs")
    assert [tuple(row) for row in rows] == [("default", "{}")] * 2


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("delay", "delays => '{0, -1}'"),
        ("delay", "delays => '{0, NaN}'"),
        ("delay", "delays => '{0, Infinity}'"),
        ("deadline", "lifetimes => '{1, -1}'"),
        ("deadline", "delays => '{NULL, 7200}', lifetimes => '{3600, 3600}'"),
        ("deadline", "run_ats => ARRAY[NULL, now() + '1 h'], lifetimes => '{3000, 3000}'"),
        ("deadline", "delays => '{NULL, 10}', deadlines => ARRAY[now() - interval '1 s', now()]"),
        ("id", "ids => '{null, 00000000-0000-0000-0000-000000000000}'"),
        ("id", "ids => ARRAY[NULL, id_floor(now() - interval '2 hours')]"),
        ("id", "ids => ARRAY[NULL, overlay(new_id()::text PLACING '4' FROM 15)::uuid]"),
        ("input", "keys => '{a, b, c}'"),
    ],
)
async def test_one_bad_job_refuses_the_whole_batch_and_is_named(
    engine: Engine, field: str, arguments: str
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=rf"^{field} ") as refused:
        await engine.sql(f"SELECT add_batch('{{t}}', '{{\"{{}}\", \"{{}}\"}}', {arguments})")
    assert refused.value.detail == ("job 2" if field == "input" else "job 1")
    assert await stored(engine) == 0


@pytest.mark.parametrize(
    ("field", "job"),
    [
        ("jobs", "[1]"),
        ("jobs", "null"),
        ("queue", '{"task": "t", "queue": "mail"}'),
        ("delay", '{"task": "t", "delay": 5}'),
        ("priority", '{"task": "t", "priority": "high"}'),
        ("priority", '{"task": "t", "priority": 1.5}'),
        ("priority", '{"task": "t", "priority": true}'),
        ("priority", '{"task": "t", "priority": 99999999999}'),
        ("max_attempts", '{"task": "t", "max_attempts": [3]}'),
        ("run_at", '{"task": "t", "run_at": "soon"}'),
        ("run_at", '{"task": "t", "run_at": 1700000000}'),
        ("deadline", '{"task": "t", "deadline": "2030-13-01"}'),
        ("queue_name", '{"task": "t", "queue_name": 7}'),
        ("task", '{"payload": {}}'),
        ("payload", '{"task": "t", "payload": [1]}'),
        ("job_key", '{"task": "t", "job_key": ""}'),
        ("job_key_mode", '{"task": "t", "job_key": "k", "job_key_mode": "debounce"}'),
        ("meta", '{"task": "t", "meta": 1}'),
        ("tags", '{"task": "t", "tags": ["a", 1]}'),
    ],
)
async def test_an_element_of_add_jobs_that_is_wrong_is_named_with_its_field_and_what_would_do(
    engine: Engine, field: str, job: str
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=rf"^{field} ") as refused:
        await engine.sql(
            "SELECT * FROM add_jobs($1::text[]::jsonb[])", ['{"task": "t", "priority": "3"}', job]
        )
    assert (refused.value.column_name, refused.value.detail) == (field, "jobs[2]")
    assert refused.value.hint
    assert await stored(engine) == 0


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("task", "''"), ("priority", "'t', priority => 70000"), ("group_key", "'t', group_key => ''")],
)
async def test_add_job_has_one_job_and_names_the_field_alone(engine: Engine, field: str, wrong: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=rf"^{field} ") as refused:
        await engine.sql(f"SELECT add_job({wrong})")
    assert (refused.value.column_name, refused.value.detail) == (field, "add_job")


async def test_a_key_of_an_element_that_is_not_known_is_answered_with_those_that_are(engine: Engine) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"^paylod is not known") as refused:
        await engine.sql("""SELECT * FROM add_jobs(ARRAY['{"task": "t", "paylod": {}}']::jsonb[])""")
    assert "known are task, payload, queue_name, " in (refused.value.hint or "")


async def test_null_in_an_element_is_as_good_as_left_out(engine: Engine) -> None:
    names = (
        "payload",
        "queue_name",
        "run_at",
        "priority",
        "max_attempts",
        "job_key",
        "meta",
        "tags",
        "deadline",
    )
    job = {"task": "t", **dict.fromkeys(names)}
    (row,) = await engine.sql("SELECT * FROM add_jobs(ARRAY[$1::text::jsonb])", json.dumps(job))
    run = await engine.run(row["id"])
    assert (run["input"], run["queue"], run["priority"], run["tags"], run["meta"]) == (
        {},
        "default",
        0,
        [],
        {},
    )


async def test_a_deadline_in_the_past_is_no_fault_if_the_run_was_due_before_it(engine: Engine) -> None:
    times = "run_at => now() - interval '2 h', deadline => now() - interval '1 h'"
    (row,) = await engine.sql(f"SELECT add_job('t', {times}) AS id")
    assert await engine.claim() == []
    assert await engine.status(row["id"]) == "expired"


@pytest.mark.parametrize("payload", ["{", '{"a": "\\u0000"}', '{"a": NaN}'])
async def test_what_is_not_json_is_refused_by_the_server(engine: Engine, payload: str) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await engine.sql("SELECT add_job('t', $1::text::jsonb)", payload)
    assert await stored(engine) == 0


# Namespaces.


async def test_a_namespace_sees_and_claims_only_its_own(engine: Engine, another: Another) -> None:
    other = await another()
    other.namespace = "other"
    mine, theirs = await engine.add_one(), await other.add_one()
    late = await other.add_one(run_at=await later(engine, "50 ms"))
    assert [row["id"] for row in await engine.claim()] == [mine]
    assert engine.position["due"] is None
    assert [row["id"] for row in await other.claim(promote=False)] == [theirs]
    assert await engine.status(late) == "scheduled"
    listed = await engine.sql("SELECT * FROM find_runs()")
    assert [row["id"] for row in listed] == [mine]
    counted = await engine.sql("SELECT namespace, running FROM queue_stats ORDER BY namespace")
    assert [tuple(row) for row in counted] == [("default", 1), ("other", 1)]


async def later(engine: Engine, how: str = "1 hour") -> Any:
    """A time to come, by the database's clock."""
    return await engine.db.fetchval("SELECT clock_timestamp() + $1::text::interval", how)
