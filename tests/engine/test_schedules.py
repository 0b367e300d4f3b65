"""Schedules as SQL keeps them: what is refused, what an edit changes, who is told."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.engine.calls import Engine

Row = Any
WEEK = timedelta(days=7)


async def row(engine: Engine, key: str = "k") -> Row:
    (found,) = await engine.sql("SELECT * FROM schedules WHERE key = $1", key)
    return found


async def value(engine: Engine, text: str, *arguments: Any) -> Any:
    return (await engine.sql(text, *arguments))[0][0]


async def test_a_schedule_is_added_once_and_replaced_by_its_key(engine: Engine) -> None:
    add = "SELECT add_schedule('k', 'reports.nightly', cron => $1)"
    assert await value(engine, add, "0 2 * * *") == "added"
    assert await value(engine, add, "0 2 * * *") == "unchanged"
    before = await row(engine)
    assert await value(engine, add, "0 3 * * *") == "updated"
    after = await row(engine)
    assert (before["cron"], after["cron"]) == ("0 2 * * *", "0 3 * * *")
    assert after["since_at"] > before["since_at"], "a rule that changed has missed nothing"
    assert after["revision"] > before["revision"]


async def test_an_edit_that_leaves_the_rule_keeps_where_it_stands(engine: Engine) -> None:
    await engine.sql("SELECT add_schedule('k', 't', every => '1 minute')")
    await engine.sql("UPDATE schedules SET cursor_at = now(), next_at = now(), fired = 3, invalid = 'x'")
    before = await row(engine)
    assert await value(engine, "SELECT update_schedule('k', '{\"overlap\": \"skip\"}')") == "updated"
    after = await row(engine)
    for kept in ("since_at", "cursor_at", "next_at", "fired", "every"):
        assert before[kept] == after[kept]
    assert (after["overlap"], after["invalid"]) == ("skip", None)


async def test_giving_one_of_cron_and_every_takes_the_other_away(engine: Engine) -> None:
    await engine.sql("SELECT add_schedule('k', 't', every => '1 minute', max_runs => 3)")
    await engine.sql("""SELECT update_schedule('k', '{"cron": "@daily", "max_runs": null, "tags": ["a"]}')""")
    found = await row(engine)
    assert (found["cron"], found["every"], found["max_runs"], found["tags"]) == ("@daily", None, None, ["a"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ("''::text, 't', cron => '@daily'", "key"),
        ("'k', '', cron => '@daily'", "task"),
        ("'k', 't', '[]', cron => '@daily'", "payload"),
        ("'k', 't'", "cron"),
        ("'k', 't', cron => ''", "cron"),
        ("'k', 't', cron => '@daily', every => '1 minute'", "every"),
        ("'k', 't', every => '1 month'", "every"),
        ("'k', 't', every => '10 milliseconds'", "every"),
        ("'k', 't', cron => '@daily', timezone => 'Mars/Olympus'", "timezone"),
        ("'k', 't', cron => '@daily', start_at => '2030-01-02', end_at => '2030-01-01'", "end_at"),
        ("'k', 't', every => '2000000000 days'", "every"),
        ("'k', 't', cron => '@daily', start_at => 'infinity'", "start_at"),
        ("'k', 't', cron => '@daily', max_runs => 0", "max_runs"),
        ("'k', 't', cron => '@daily', catch_up => -1", "catch_up"),
        ("'k', 't', cron => '@daily', overlap => 'never'", "overlap"),
        ("'k', 't', cron => '@daily', jitter => '-1 second'", "jitter"),
        ("'k', 't', cron => '@daily', queue_name => '*'", "queue_name"),
        ("'k', 't', cron => '@daily', priority => 40000", "priority"),
        ("'k', 't', cron => '@daily', concurrency_key => repeat('k', 201)", "concurrency_key"),
        ("'k', 't', cron => '@daily', max_attempts => 0", "max_attempts"),
        ("'k', 't', cron => '@daily', deadline => '-1 second'", "deadline"),
        ("'k', 't', cron => '@daily', meta => '[]'", "meta"),
        ("'k', 't', cron => '@daily', namespace => ''", "namespace"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_name(engine: Engine, arguments: str, field: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError) as caught:
        await engine.sql(f"SELECT add_schedule({arguments})")
    assert caught.value.column_name == field
    assert caught.value.hint
    assert await engine.sql("SELECT FROM schedules") == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ('{"corn": "@daily"}', "corn"),
        ('{"every": "soon"}', "every"),
        ('{"max_runs": "many"}', "max_runs"),
        ('{"task": null}', "task"),
        ("[]", "changes"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_by_its_name(
    engine: Engine, changes: str, field: str
) -> None:
    await engine.sql("SELECT add_schedule('k', 't', cron => '@daily')")
    with pytest.raises(asyncpg.InvalidParameterValueError) as caught:
        await engine.sql("SELECT update_schedule('k', $1::text::jsonb)", changes)
    assert caught.value.column_name == field


@pytest.mark.parametrize(
    "call",
    [
        "update_schedule('k', '{}')",
        "pause_schedule('k')",
        "resume_schedule('k')",
        "run_schedule_now('k')",
    ],
)
async def test_a_schedule_that_does_not_exist_is_said_so(engine: Engine, call: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="names no schedule"):
        await engine.sql(f"SELECT {call}")


async def test_a_pause_ends_where_it_was_resumed(engine: Engine) -> None:
    await engine.sql("SELECT add_schedule('k', 't', cron => '@daily')")
    await engine.sql("SELECT pause_schedule('k', reason => 'holidays')")
    paused = await row(engine)
    assert (str(paused["paused_until"]), paused["pause_reason"]) != ("None", None)
    await engine.sql("SELECT resume_schedule('k')")
    resumed = await row(engine)
    assert resumed["paused_until"] is None
    assert resumed["since_at"] > paused["since_at"], "nothing is missed while it was paused"
    with pytest.raises(asyncpg.InvalidParameterValueError, match="until"):
        await engine.sql("SELECT pause_schedule('k', now() - interval '1 second')")


async def test_with_catch_up_a_pause_counts_as_missed(engine: Engine) -> None:
    await engine.sql("SELECT add_schedule('k', 't', cron => '@daily', catch_up => 2)")
    before = await row(engine)
    await engine.sql("SELECT pause_schedule('k')")
    await engine.sql("SELECT resume_schedule('k')")
    assert (await row(engine))["since_at"] == before["since_at"]


async def test_removed_is_removed_once_and_its_history_stays(engine: Engine) -> None:
    await engine.sql("SELECT add_schedule('k', 't', cron => '@daily')")
    (fired,) = await engine.sql("SELECT * FROM run_schedule_now('k')")
    assert await value(engine, "SELECT remove_schedule('k')") is True
    assert await value(engine, "SELECT remove_schedule('k')") is False
    assert await value(engine, "SELECT run_id FROM schedule_ticks") == fired["run_id"]


async def test_every_change_is_told_when_it_is_committed(engine: Engine, db: asyncpg.Connection) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    await db.add_listener("openqueue", lambda *heard: told.put_nowait(str(heard[-1])))
    for call in (
        "add_schedule('k', 't', cron => '@daily')",
        """update_schedule('k', '{"catch_up": 1}')""",
        "pause_schedule('k')",
        "resume_schedule('k')",
        "remove_schedule('k')",
    ):
        await engine.sql(f"SELECT {call}")
        async with asyncio.timeout(60):
            assert json.loads(await told.get()) == {"schedules": ["k"], "namespace": "default"}
    await engine.sql("SELECT remove_schedule('k')")
    assert told.empty(), "nothing has changed"


async def publish(
    engine: Engine, tasks: list[str], *declared: dict[str, Any], pool: str = "p"
) -> dict[str, str]:
    rows = await engine.call("publish_schedules", "default", pool, tasks, json.dumps(declared))
    return {found["key"]: found["outcome"] for found in rows}


async def test_the_code_owns_what_it_declares(engine: Engine) -> None:
    assert await publish(engine, ["a", "b"], {"task": "a", "cron": "@daily"}) == {"a": "added"}
    assert await publish(engine, ["a", "b"], {"task": "a", "cron": "@daily"}) == {"a": "unchanged"}
    assert await publish(engine, ["a"], {"task": "a", "every": "5 minutes"}) == {"a": "updated"}
    for call in ("add_schedule('a', 'a', cron => '@daily')", "update_schedule('a', '{}')"):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="the code declares"):
            await engine.sql(f"SELECT {call}")
    await engine.sql("SELECT pause_schedule('a')")
    await publish(engine, ["a"], {"task": "a", "every": "5 minutes"})
    assert (await row(engine, "a"))["pause_reason"] is None
    assert (await row(engine, "a"))["paused_until"] is not None, "a pause by hand holds"


async def test_who_does_not_know_a_task_leaves_its_schedule_alone(engine: Engine) -> None:
    await publish(engine, ["a"], {"task": "a", "cron": "@daily"})
    await engine.sql("SELECT add_schedule('b', 'b', cron => '@daily')")
    assert await publish(engine, ["c"], pool="other") == {}
    assert await publish(engine, ["b"], {"task": "b", "cron": "@hourly"}) == {"b": "taken"}
    assert await publish(engine, ["a", "b"]) == {"a": "removed"}
    assert (await row(engine, "b"))["cron"] == "@daily"


async def test_what_nobody_publishes_any_longer_is_paused_until_somebody_does(engine: Engine) -> None:
    await publish(engine, ["a", "b"], {"task": "a", "cron": "@daily"}, {"task": "b", "cron": "@daily"})
    await engine.sql("UPDATE schedules SET seen_at = now() - interval '8 days' WHERE key = 'a'")
    assert await engine.value("pause_unpublished", "default", WEEK) == ["a"]
    assert "no live worker" in (await row(engine, "a"))["pause_reason"]
    await engine.call("see_schedules", "default", "p", ["a", "b"])
    assert (await row(engine, "a"))["paused_until"] is None
    assert await engine.value("pause_unpublished", "default", WEEK) == []


async def publish_task(engine: Engine, concurrency_key: Any) -> None:
    told = {"task": "t", "queue": "default", "priority": 0, "max_attempts": 1}
    told["options"] = {"concurrency_key": concurrency_key}
    await engine.call("publish_tasks", "default", "p", json.dumps([told]))


@pytest.mark.parametrize("change", ['{"payload": {"account": 8}}', '{"task": "u"}'])
async def test_a_key_that_was_worked_out_of_the_arguments_does_not_outlive_them(
    engine: Engine, change: str
) -> None:
    await publish_task(engine, {"of": ["account"]})
    await engine.sql(
        "SELECT add_schedule('k', 't', '{\"account\": 7}', cron => '@daily', concurrency_key => '7')"
    )
    await engine.sql("SELECT update_schedule('k', '{\"cron\": \"@hourly\"}')")
    with pytest.raises(asyncpg.InvalidParameterValueError, match="worked out of the arguments") as refused:
        await engine.sql("SELECT update_schedule('k', $1::text::jsonb)", change)
    assert (refused.value.column_name, bool(refused.value.hint)) == ("concurrency_key", True)
    assert (await row(engine))["concurrency_key"] == "7"
    told = json.dumps({**json.loads(change), "concurrency_key": "8"})
    assert await value(engine, "SELECT update_schedule('k', $1::text::jsonb)", told) == "updated"
    assert (await row(engine))["concurrency_key"] == "8"


async def test_a_key_that_is_a_text_is_an_option_as_any_other(engine: Engine) -> None:
    await publish_task(engine, "all of them")
    await engine.sql("SELECT add_schedule('k', 't', cron => '@daily', concurrency_key => 'mine')")
    await engine.sql("SELECT update_schedule('k', '{\"payload\": {\"account\": 8}}')")
    assert (await row(engine))["concurrency_key"] == "mine"
    await engine.sql("SELECT update_schedule('k', '{\"concurrency_key\": null}')")
    assert (await row(engine))["concurrency_key"] is None


async def test_a_worker_of_a_version_that_knows_no_keys_of_schedules_leaves_them(engine: Engine) -> None:
    """Both are there while versions change."""
    told = {"task": "t", "cron": "@daily", "input": {"account": 7}}
    for said in ({**told, "concurrency_key": "7"}, told):
        await engine.call("publish_schedules", "default", "p", ["t"], json.dumps([said]))
        assert (await row(engine, "t"))["concurrency_key"] == "7"
    await engine.call(
        "publish_schedules", "default", "p", ["t"], json.dumps([{**told, "concurrency_key": None}])
    )
    assert (await row(engine, "t"))["concurrency_key"] is None
