"""What is said, by whom: what wins, what is published and taken back, and that nothing new moves nobody."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from tests.engine.calls import Engine


async def say(
    engine: Engine, name: str, source: str = "run time", kind: str = "queue", **change: Any
) -> None:
    await engine.sql(
        "SELECT set_control($1, $2, $3::text::jsonb, source => $4)", kind, name, json.dumps(change), source
    )


async def publish(engine: Engine, source: str, known: list[str], **said: dict[str, Any]) -> int:
    items = [{"kind": "task", "name": name, "change": change} for name, change in said.items()]
    return int(await engine.value("publish_controls", "default", source, json.dumps(items), known))


async def said(engine: Engine) -> list[tuple[Any, ...]]:
    rows = await engine.sql("SELECT source, kind, name, concurrency, rate FROM controls ORDER BY 1, 2, 3")
    return [tuple(row) for row in rows]


async def test_each_value_is_that_of_the_first_who_says_it(engine: Engine) -> None:
    await say(engine, "mail", "code", concurrency=1, rate=1, period="1 s", burst=7)
    await say(engine, "mail", "settings", concurrency=2, fairness="weighted")
    await say(engine, "mail", "run time", rate=3, period="3 s")
    (row,) = await engine.sql("SELECT * FROM controls_in_force")
    assert (row["concurrency"], row["concurrency_from"]) == (2, "settings")
    assert (row["rate"], row["burst"], row["rate_from"]) == (3, None, "run time")
    assert (row["fairness"], row["fairness_from"]) == ("weighted", "settings")
    await say(engine, "mail", "run time", rate=None, period=None)
    (row,) = await engine.sql("SELECT * FROM controls_in_force")
    assert (row["rate"], row["burst"], row["rate_from"]) == (1, 7, "code")


async def test_to_say_the_same_again_tells_nobody_and_looks_at_nothing(
    engine: Engine, db: asyncpg.Connection
) -> None:
    heard: list[str] = []
    await db.add_listener("openqueue", lambda *told: heard.append(str(told[3])))
    await say(engine, "mail", concurrency=2, rate=5, period="1 minute")
    before = await engine.sql("SELECT changed_at FROM controls")
    told, looks = len(heard), len(await engine.sql("SELECT FROM openings"))
    assert (told, looks) == (1, 1)
    await say(engine, "mail", concurrency=2)
    await say(engine, "mail", rate=5, period="60 s")
    await say(engine, "other", concurrency=None)
    await engine.sql("SELECT resume_queue('mail')")
    assert (len(heard), len(await engine.sql("SELECT FROM openings"))) == (told, looks)
    assert await engine.sql("SELECT changed_at FROM controls") == before
    await say(engine, "mail", concurrency=3)
    assert (len(heard), len(await engine.sql("SELECT FROM openings"))) == (2, 2)


async def test_what_is_published_is_taken_back_by_who_speaks_for_it_and_by_nobody_else(
    engine: Engine,
) -> None:
    known = ["task a", "task b"]
    assert await publish(engine, "code", known, a={"concurrency": 5}, b={"rate": 1, "period": "1 s"}) == 2
    await say(engine, "a", "run time", kind="task", concurrency=9)
    await publish(engine, "code", ["task c"], c={"concurrency": 1})
    await publish(engine, "settings", known)
    assert await said(engine) == [
        ("code", "task", "a", 5, None),
        ("code", "task", "b", None, 1),
        ("code", "task", "c", 1, None),
        ("run time", "task", "a", 9, None),
    ]
    await publish(engine, "code", known, a={"rate": 2, "period": "1 s"})
    assert await said(engine) == [
        ("code", "task", "a", None, 2),
        ("code", "task", "c", 1, None),
        ("run time", "task", "a", 9, None),
    ]


async def test_a_queue_is_published_with_the_weights_of_its_groups(engine: Engine) -> None:
    weights = [
        {"kind": "group", "name": name, "queue": "mail", "change": {"weight": 3}}
        for name in ("gold", "silver")
    ]
    await engine.call("publish_controls", "default", "settings", json.dumps(weights), ["queue mail"])
    await engine.call("publish_controls", "default", "settings", json.dumps(weights[:1]), ["queue mail"])
    rows = await engine.sql("SELECT kind, name, queue, weight FROM controls")
    assert [tuple(row) for row in rows] == [("group", "gold", "mail", 3.0)]


async def test_workers_that_start_with_the_same_code_change_nothing(
    engine: Engine, db: asyncpg.Connection
) -> None:
    await publish(engine, "code", ["task a"], a={"concurrency": 5, "rate": 7, "period": "90 s"})
    heard: list[str] = []
    await db.add_listener("openqueue", lambda *told: heard.append(str(told[3])))
    before = await engine.sql("SELECT ctid, * FROM controls")
    await publish(engine, "code", ["task a"], a={"concurrency": 5, "rate": 7, "period": "1.5 min"})
    assert await engine.sql("SELECT ctid, * FROM controls") == before
    assert heard == []


async def test_null_means_the_default_and_a_whole_number_may_be_written_with_a_point(engine: Engine) -> None:
    await engine.sql(
        "SELECT set_control('queue', 'mail', $1::text::jsonb, NULL, namespace => NULL, source => NULL)",
        '{"concurrency": 5.0, "rate": 10.0, "period": "1 s", "burst": 2.0}',
    )
    assert await said(engine) == [("run time", "queue", "mail", 5, 10)]
    await engine.sql("SELECT pause_queue('mail', namespace => NULL)")
    (row,) = await engine.sql("SELECT namespace, paused_until IS NOT NULL AS paused FROM controls")
    assert tuple(row) == ("default", True)


@pytest.mark.parametrize(
    "nothing", [{"rate": None}, {"period": None}, {"rate": None, "period": None, "burst": None}]
)
async def test_who_takes_back_a_rate_takes_back_its_period_and_burst(
    engine: Engine, nothing: dict[str, Any]
) -> None:
    await say(engine, "mail", concurrency=2, rate=5, period="1 minute", burst=3)
    await say(engine, "mail", **nothing)
    (row,) = await engine.sql("SELECT concurrency, rate, period, burst FROM controls")
    assert tuple(row) == (2, None, None, None)
    await say(engine, "mail", rate=7, period="1 minute")
    await say(engine, "mail", burst=2)
    (row,) = await engine.sql("SELECT rate, burst FROM controls")
    assert tuple(row) == (7, 2)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("queue_name", "pause_queue(NULL)"),
        ("queue_name", "pause_queue('')"),
        ("queue_name", "resume_queue(NULL)"),
        ("queue_name", "pause_queue('*')"),
        ("queue_name", "pause_group('*', 'customer 42')"),
        ("name", "set_control('queue', '*', '{\"concurrency\": 1}')"),
        ("task", "pause_task(NULL)"),
        ("task", "resume_task('')"),
        ("group_key", "pause_group('mail', NULL)"),
        ("queue_name", "pause_group(NULL, 'customer 42')"),
        ("group_key", "resume_group('mail', '')"),
        ("until", "pause_queue('mail', now())"),
        ("until", "pause_queue('mail', '-infinity')"),
        ("until", "pause_task('mail.send', now() - interval '1 second')"),
        ("until", "pause_group('mail', 'customer 42', '2020-01-01')"),
        ("until", "pause_all('2020-01-01')"),
        ("until", "pause_queue('mail', '9999-01-01')"),
        ("namespace", "pause_queue('mail', namespace => '')"),
        ("paused_until", "set_control('queue', 'mail', '{\"paused_until\": \"2020-01-01\"}')"),
        ("kind", "set_control(NULL, 'mail', '{}')"),
        ("source", "set_control('queue', 'mail', '{}', source => 'me')"),
        ("namespace", "resume_queue('mail', '')"),
        ("paused_until", "set_control('all', '', '{\"paused_until\": \"infinity\"}', source => 'code')"),
        (
            "paused_until",
            """publish_controls('default', 'settings', '[{"kind": "queue", "name": "mail",
                "change": {"paused_until": "infinity"}}]', '{}')""",
        ),
        ("burst", "set_control('queue', 'mail', '{\"burst\": 5}')"),
        ("burst", "set_control('queue', 'mail', '{\"rate\": null, \"burst\": 5}')"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name(engine: Engine, field: str, call: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError) as caught:
        await engine.sql(f"SELECT {call}")
    assert (caught.value.column_name, bool(caught.value.hint)) == (field, True)
    assert await engine.sql("SELECT FROM controls") == []
