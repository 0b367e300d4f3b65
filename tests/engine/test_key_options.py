"""Groups and concurrency keys as they are stored: with the job, with the run, and in the lanes."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.engine.calls import Engine

STORED = "SELECT group_key, concurrency_key, key_limit, keeps_slot FROM {} ORDER BY id"


async def stored(engine: Engine) -> list[tuple[Any, ...]]:
    """What the jobs have; the runs have the same."""
    jobs = [tuple(row) for row in await engine.sql(STORED.format("jobs"))]
    runs = [tuple(row) for row in await engine.sql(STORED.format("run_requests"))]
    assert [one[:3] for one in jobs] == [one[:3] for one in runs]
    assert [one[3] for one in jobs] == [one[3] or False for one in runs]
    return jobs


async def publish(engine: Engine, options: str) -> None:
    """A worker publishes the task t with these options."""
    task = '{"task": "t", "queue": "mail", "priority": 0, "max_attempts": 25, "options": %s}'
    await engine.call("publish_tasks", "default", "pool", f"[{task % options}]")


ADD = {
    "add_job": "SELECT add_job('t', group_key => 'g', concurrency_key => $1)",
    "add_job with a key": "SELECT add_job('t', job_key => 'k', group_key => 'g', concurrency_key => $1)",
    "add_jobs": """SELECT * FROM add_jobs(ARRAY[jsonb_build_object('task', 't', 'group_key', 'g',
        'concurrency_key', $1::text)])""",
}


@pytest.mark.parametrize("add", ADD.values(), ids=ADD)
@pytest.mark.parametrize(
    ("options", "given", "wanted"),
    [
        ("{}", "c", ("g", "c", 1, True)),
        ("{}", None, ("g", None, None, False)),
        ('{"key_concurrency": 3}', "c", ("g", "c", 3, False)),
        ('{"key_concurrency": 3, "on_failure": "block"}', "c", ("g", "c", 3, True)),
        ('{"on_failure": "step_aside"}', "c", ("g", "c", 1, False)),
        ('{"concurrency_key": "printer", "key_concurrency": 2}', None, ("g", "printer", 2, False)),
        ('{"concurrency_key": "printer", "key_concurrency": 2}', "c", ("g", "c", 2, False)),
        ('{"concurrency_key": "printer", "key_concurrency": 2}', "", ("g", None, None, False)),
        ('{"concurrency_key": {"of": ["to"]}, "key_concurrency": 2}', None, ("g", None, None, False)),
        ('{"concurrency_key": "c", "key_concurrency": "many"}', None, ("g", "c", 1, True)),
        ('{"concurrency_key": "c", "key_concurrency": 1e9}', None, ("g", "c", 32767, False)),
    ],
)
async def test_what_is_left_out_of_a_concurrency_key_comes_from_the_catalogue(
    engine: Engine, add: str, options: str, given: Any, wanted: Any
) -> None:
    await publish(engine, options)
    await engine.sql(add, given)
    assert await stored(engine) == [wanted]
    gates = [row["gate"] for row in await engine.sql("SELECT gate FROM jobs")]
    assert gates == [wanted[1] and f"key {wanted[1]}"]


async def test_a_batch_has_the_keys_of_each_of_its_tasks(engine: Engine) -> None:
    await publish(engine, '{"concurrency_key": "printer", "key_concurrency": 2}')
    await engine.sql(
        "SELECT * FROM add_batch('{t, u, t, u, t}', array_fill('{}'::jsonb, ARRAY[5]),"
        " key_limits => $1::integer[],"
        " concurrency_keys => '{NULL, NULL, c, d, \"\"}', keeps_slots => '{NULL, NULL, true, NULL, true}')",
        [None, 9, None, 9, None],
    )
    assert [one[1:] for one in await stored(engine)] == [
        ("printer", 2, False),
        (None, None, False),
        ("c", 2, True),
        ("d", 9, False),
        (None, None, False),
    ]


async def test_one_element_stands_for_all(engine: Engine) -> None:
    await engine.sql(
        """SELECT * FROM add_batch('{t}', array_fill('{}'::jsonb, ARRAY[3]), concurrency_keys => '{c}',
            key_limits => '{4}', keeps_slots => '{true}')"""
    )
    assert await stored(engine) == [(None, "c", 4, True)] * 3


async def test_a_waiting_run_that_is_replaced_after_it_was_let_through_gives_its_slot_back(
    engine: Engine,
) -> None:
    run = await engine.add_one(concurrency_key="c", job_key="k")
    assert await engine.claim(tasks=["other"]) == []
    (row,) = await engine.sql("SELECT slots FROM jobs")
    assert row["slots"] == 4
    assert await engine.add_one(concurrency_key="c", job_key="k", payload={"n": 2}) == run
    assert [row["id"] for row in await engine.claim()] == [run]
    await engine.finish([run])
    assert await engine.claim() == []
    assert await engine.sql("SELECT FROM slots WHERE used > 0") == []


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("group_key", "group_key => ''"),
        ("group_key", "group_key => repeat('g', 201)"),
        ("concurrency_key", "concurrency_key => repeat('c', 201)"),
        ("idempotency_key", "idempotency_key => ''"),
        ("idempotency_key", "idempotency_key => repeat('i', 501)"),
    ],
)
async def test_a_key_that_cannot_be_is_refused_with_the_field_named(
    engine: Engine, field: str, given: str
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=rf"^{field} must have") as refused:
        await engine.sql(f"SELECT add_job('t', {given})")
    assert (refused.value.column_name, refused.value.detail) == (field, "add_job")
    assert refused.value.hint
    assert await stored(engine) == []


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("key_concurrency", "concurrency_keys => '{c, c}', key_limits => '{1, 0}'"),
        ("key_concurrency", "concurrency_keys => '{c, c}', key_limits => '{1, 32768}'"),
        ("idempotency_ttl", "idempotency_keys => '{i, j}', ttls => '{1, 0}'"),
        ("idempotency_ttl", "idempotency_keys => '{i, j}', ttls => '{1, NaN}'"),
        ("idempotency_ttl", "idempotency_keys => '{i, j}', ttls => '{1, Infinity}'"),
        ("idempotency", "idempotency_keys => '{i, \"\"}'"),
        ("group", "group_keys => '{i, \"\"}'"),
    ],
)
async def test_one_bad_key_refuses_the_whole_batch_and_is_named(
    engine: Engine, field: str, given: str
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=rf"^{field} ") as refused:
        await engine.sql(f"SELECT add_batch('{{t}}', '{{\"{{}}\", \"{{}}\"}}', {given})")
    assert refused.value.detail == "job 1"
    assert await stored(engine) == []


async def test_a_run_that_was_let_through_and_keeps_its_place_opens_no_gate(engine: Engine) -> None:
    for _ in range(2):
        await engine.add(1, job_key="j", job_key_mode="keep_time", concurrency_key="k")
        await engine.sql("SELECT open_gates('default')")
    (job,) = await engine.sql("SELECT gate FROM jobs")
    assert job["gate"] == "back default"
    assert await engine.sql("SELECT FROM openings WHERE scope LIKE 'back %'") == []
    assert await engine.sql("SELECT FROM slots WHERE scope LIKE 'back %'") == []
