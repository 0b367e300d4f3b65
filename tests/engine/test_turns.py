"""Fairness between groups, and priority that grows with waiting."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another


async def fair(engine: Engine, policy: str = "round_robin", **more: Any) -> None:
    change = json.dumps({"fairness": policy, **more})
    await engine.sql("SELECT set_control('queue', 'default', $1::text::jsonb)", change)


async def grouped(engine: Engine, group: str | None, count: int, *, priority: int = 0) -> list[UUID]:
    jobs = await engine.bulk(count, priority=priority)
    await engine.sql("UPDATE jobs SET group_key = $1 WHERE id = ANY ($2)", group, jobs)
    return jobs


async def groups_of(engine: Engine, rows: list[Any]) -> list[str | None]:
    """The groups of claimed jobs, in the order of the claim."""
    found = await engine.sql(
        "SELECT id, group_key FROM jobs WHERE id = ANY ($1)", [row["id"] for row in rows]
    )
    by_id = {row["id"]: row["group_key"] for row in found}
    return [by_id[row["id"]] for row in rows]


async def test_groups_take_turns_and_their_jobs_keep_their_order(engine: Engine) -> None:
    await fair(engine)
    many, few, last = [await grouped(engine, name, n) for name, n in (("a", 6), ("b", 2), (None, 1))]
    rows = await engine.claim(100)
    assert sorted(str(group) for group in (await groups_of(engine, rows))[:3]) == ["None", "a", "b"]
    assert [row["id"] for row in rows if row["id"] in many] == many
    assert [row["id"] for row in rows if row["id"] in few] == few
    assert [row["id"] for row in rows][-4:] == many[-4:]
    assert last[0] in [row["id"] for row in rows]


async def test_what_was_served_is_remembered_between_claims(engine: Engine) -> None:
    await fair(engine)
    await grouped(engine, "a", 50)
    await engine.claim(10)
    await grouped(engine, "b", 5)
    rows = await engine.claim(10)
    assert Counter(await groups_of(engine, rows)) == {"a": 5, "b": 5}


async def test_C10_a_group_of_ten_among_one_of_many_finishes_early(engine: Engine) -> None:
    await fair(engine)
    await grouped(engine, "many", 3000)
    few = set(await grouped(engine, "few", 10))
    taken = 0
    while few:
        rows = await engine.claim(10, promote=False)
        few -= {row["id"] for row in rows}
        await engine.finish([row["id"] for row in rows])
        taken += len(rows)
    assert taken <= 40


async def test_weights_share_as_they_say(engine: Engine) -> None:
    await fair(engine, "weighted")
    await engine.sql("SELECT set_control('group', 'heavy', '{\"weight\": 3}', 'default')")
    await grouped(engine, "light", 100)
    await grouped(engine, "heavy", 100)
    shares = Counter(await groups_of(engine, await engine.claim(80)))
    assert abs(shares["heavy"] - 60) <= 1


async def test_lanes_of_lower_priority_numbers_go_first_all_the_same(engine: Engine) -> None:
    await fair(engine)
    await grouped(engine, "a", 3, priority=1)
    first = await grouped(engine, "a", 3, priority=0)
    assert [row["id"] for row in await engine.claim(3)] == first


@pytest.mark.parametrize("way", ["release", "rescue", "rollback"])
async def test_a_job_that_comes_back_has_its_turn_again(engine: Engine, another: Another, way: str) -> None:
    await fair(engine)
    first, *jobs = await grouped(engine, "a", 5)
    assert [row["id"] for row in await engine.claim(1)] == [first]
    await engine.finish([first])
    if way == "rollback":
        other = await another()
        transaction = other.db.transaction()
        await transaction.start()
        await other.claim(2)
        assert [row["id"] for row in await engine.claim(1)] == [jobs[2]]
        await transaction.rollback()
    else:
        await engine.claim(2)
        if way == "release":
            await engine.sql("SELECT release_jobs($1)", engine.worker)
        else:
            await engine.sql("SELECT put_back($1, $2, true)", engine.worker, jobs[:2])
    rows = await engine.claim(10)
    assert [row["id"] for row in rows][:2] == jobs[:2]
    assert all(row["returned"] for row in rows)


async def test_an_end_of_fairness_serves_what_was_arranged_and_then_what_came(engine: Engine) -> None:
    await fair(engine)
    jobs = await grouped(engine, "a", 3)
    await engine.claim(1)
    await engine.sql("SELECT set_control('queue', 'default', '{\"fairness\": null}')")
    later = await grouped(engine, "b", 2)
    got = [row["id"] for row in await engine.claim(10)]
    got += [row["id"] for row in await engine.claim(10)]
    assert sorted(got) == sorted([*jobs[1:], *later])


async def test_several_claimers_share_a_fair_queue_and_lose_nothing(engine: Engine, another: Another) -> None:
    await fair(engine)
    jobs = [job for group in range(10) for job in await grouped(engine, f"g{group}", 20)]
    got: list[UUID] = []

    async def work(worker: Engine) -> None:
        while len(got) < len(jobs):
            rows = [row["id"] for row in await worker.claim(7)]
            got.extend(rows)
            left: list[UUID | None] = list(rows)
            while left:
                verdicts = await worker.finish(left)
                left = [job for job, verdict in zip(left, verdicts, strict=True) if verdict == "busy"]

    await asyncio.gather(*[work(await another()) for _ in range(3)])
    assert sorted(got) == sorted(jobs)


async def test_ageing_raises_what_waits_by_a_level_an_interval(engine: Engine) -> None:
    await engine.sql("SELECT set_control('queue', 'default', '{\"ageing\": \"1 minute\"}')")
    (old,) = await engine.add(priority=5)
    await engine.sql("UPDATE jobs SET run_at = run_at - interval '6 minutes' WHERE id = $1", old)
    (new,) = await engine.add(priority=0)
    assert [row["id"] for row in await engine.claim(1)] == [old]
    assert [row["id"] for row in await engine.claim(1)] == [new]
