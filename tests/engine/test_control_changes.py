"""What is said anew holds at once, also of what waits already."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.engine.calls import Engine
from tests.engine.test_turns import fair, grouped, groups_of


async def say(engine: Engine, kind: str, name: str, **change: Any) -> None:
    await engine.sql("SELECT set_control($1, $2, $3::text::jsonb)", kind, name, json.dumps(change))


@pytest.mark.parametrize(("kind", "name"), [("queue", "default"), ("task", "t"), ("key", "k")])
async def test_a_faster_rate_does_not_wait_for_what_the_slower_one_had_in_mind(
    engine: Engine, kind: str, name: str
) -> None:
    await say(engine, kind, name, rate=1, period="1 hour")
    await engine.add(9, concurrency_key="k")
    await engine.sql("UPDATE jobs SET key_limit = 9")
    assert len(await engine.claim(5)) == 1
    assert await engine.claim(5) == []
    await say(engine, kind, name, rate=1, period="1 minute")
    assert len(await engine.claim(5)) == 1
    assert await engine.claim(5) == []
    assert engine.position["due"] < 61


async def test_a_rate_does_not_wait_for_a_clock_that_was_set_back(engine: Engine) -> None:
    await say(engine, "task", "t", rate=1, period="1 minute")
    await engine.add(3)
    await engine.claim(1)
    for column, table in (("next_at", "slots"), ("at", "openings")):
        await engine.sql(f"UPDATE {table} SET {column} = {column} + interval '1 day'")
    await engine.add(1)
    assert len([*await engine.claim(), *await engine.claim()]) == 1
    assert engine.position["due"] < 61


@pytest.mark.parametrize("before", ["weighted", "round_robin"])
async def test_a_weight_counts_for_those_who_wait_already(engine: Engine, before: str) -> None:
    await fair(engine, before)
    if before == "round_robin":
        await engine.sql("SELECT set_control('group', 'gold', '{\"weight\": 4}', 'default')")
    jobs = await grouped(engine, "gold", 200)
    await grouped(engine, "tin", 200)
    assert Counter(await groups_of(engine, await engine.claim(20))) == {"gold": 10, "tin": 10}
    if before == "round_robin":
        await fair(engine, "weighted")
    else:
        await engine.sql("SELECT set_control('group', 'gold', '{\"weight\": 4}', 'default')")
    rows = await engine.claim(50)
    assert Counter(await groups_of(engine, rows)) == {"gold": 40, "tin": 10}
    served = [row["id"] for row in rows if row["id"] in jobs]
    assert served == jobs[10:50]
    await grouped(engine, "gold", 5)  # they come behind those that wait
    await engine.sql("SELECT set_control('group', 'gold', '{\"weight\": 0.25}', 'default')")
    rows = await engine.claim(50)
    assert Counter(await groups_of(engine, rows)) == {"gold": 10, "tin": 40}
    assert [row["id"] for row in rows if row["id"] in jobs] == jobs[50:60]
    await engine.sql("SELECT set_control('group', 'gold', '{\"weight\": null}', 'default')")
    assert Counter(await groups_of(engine, await engine.claim(50))) == {"gold": 25, "tin": 25}
    assert len(await engine.claim(500)) == 405 - 20 - 150


async def test_so_many_that_a_call_could_not_rewrite_them_keep_their_turns(engine: Engine) -> None:
    await fair(engine, "weighted")
    await grouped(engine, "gold", 20)
    await engine.claim(5)
    await engine.sql(
        "INSERT INTO controls (namespace, kind, name, queue, source, weight)"
        " VALUES ('default', 'group', 'gold', 'default', 'code', 2)"
    )
    turns = "SELECT sum(seq) AS sum FROM jobs WHERE seq < 0 AND worker = nobody()"
    (before,) = await engine.sql(turns)
    await engine.sql("SELECT share_anew('default', 'default', '{gold}', most => 14)")
    assert await engine.sql(turns) == [before]
    await engine.sql("SELECT share_anew('default', 'default', '{gold}', most => 15)")
    assert await engine.sql(turns) != [before]


async def test_a_queue_that_becomes_fair_goes_on_after_what_was_let_through_before(engine: Engine) -> None:
    """What came out of a gate stands in its lane by its arrival, and not in any turn."""
    (keyed,) = await engine.add(1, concurrency_key="k")
    await engine.sql("SELECT open_gates('default')")
    await fair(engine)
    jobs = await grouped(engine, "a", 3)
    assert {row["id"] for row in [*await engine.claim(), *await engine.claim()]} == {keyed, *jobs}
    more = await grouped(engine, "b", 3)
    assert [row["id"] for row in await engine.claim()] == more


async def test_a_queue_whose_turns_have_gone_astray_begins_anew(engine: Engine) -> None:
    await fair(engine)
    await grouped(engine, "a", 3)
    await engine.claim(1)
    await engine.sql("UPDATE turns SET served = 7")
    await engine.sql("UPDATE groups SET tag = 1048583")
    await grouped(engine, "b", 2)
    assert Counter(await groups_of(engine, await engine.claim())) == {"a": 2, "b": 2}
