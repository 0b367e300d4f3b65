"""What a worker in SQL says of its progress is bounded, as it is for one in Python, and comes to the same."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from uuid import UUID, uuid4

from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another

SAID = "SELECT progress_run($1, $2, $3, u.patch::jsonb) FROM unnest($4::text[]) AS u (patch)"
"""All at one time: that of the statement."""


async def started(engine: Engine) -> tuple[UUID, UUID, int]:
    """Worker, run and claim: what an attempt says is fenced by them."""
    (run,) = await engine.add()
    (row,) = [row for row in await engine.claim() if row["id"] is not None]
    assert row["id"] == run
    return engine.worker, run, engine.claim_number


async def say(engine: Engine, held: tuple[UUID, UUID, int], *patches: dict[str, Any]) -> None:
    rows = await engine.sql(SAID, *held, [json.dumps(patch) for patch in patches])
    assert [row[0] for row in rows] == [True] * len(patches)


async def numbers(engine: Engine, run: UUID) -> list[int]:
    return [row["n"] for row in await engine.sql("SELECT n FROM run_log WHERE run_id = $1 ORDER BY n", run)]


async def progress(engine: Engine, run: UUID) -> Any:
    (row,) = await engine.sql("SELECT progress::text FROM runs WHERE id = $1", run)
    return json.loads(row["progress"])


async def a_second_passes(engine: Engine) -> None:
    await engine.sql("UPDATE run_log SET at = at - interval '1 second'")


async def no_second_passes(engine: Engine) -> None:
    """However long what comes next may take."""
    await engine.sql("UPDATE run_log SET at = at + interval '1 day'")


async def test_a_thousand_patches_are_kept_and_later_ones_become_one_a_second(engine: Engine) -> None:
    held = await started(engine)
    await say(engine, held, *({"done": n} for n in range(3_000)))
    before = await numbers(engine, held[1])
    assert (len(before), await progress(engine, held[1])) == (1_000, {"done": 2_999})
    await a_second_passes(engine)
    await say(engine, held, {"of": 9_000}, {"done": 3_000})
    after = await numbers(engine, held[1])
    assert (len(after), after[:-1]) == (1_001, before)
    assert await progress(engine, held[1]) == {"done": 3_000, "of": 9_000}


async def test_what_goes_into_the_last_patch_is_seen_by_those_who_watch(engine: Engine) -> None:
    """They tell what has a number above those that they have told."""
    held = await started(engine)
    await say(engine, held, *({"done": n} for n in range(1_000)))
    *rest, last = await numbers(engine, held[1])
    await no_second_passes(engine)
    await say(engine, held, {"done": 1_000})
    *same, later = await numbers(engine, held[1])
    assert same == rest
    assert later > last


async def test_large_patches_are_bounded_sooner(engine: Engine) -> None:
    held = await started(engine)
    patches = [{"text": random.Random(n).randbytes(4_000).hex()} for n in range(300)]
    await say(engine, held, *patches)
    assert len(await numbers(engine, held[1])) < 280
    assert await progress(engine, held[1]) == patches[-1]


async def test_a_new_attempt_has_a_thousand_of_its_own(engine: Engine) -> None:
    held = await started(engine)
    await say(engine, held, *({"done": n} for n in range(1_000)))
    assert await engine.sql("SELECT fail_job($1, $2, $3, 'no', retry_at => now())", *held)
    await engine.sql("SELECT promote_run($1)", held[1])
    assert [row for row in await engine.claim() if row["id"] is not None]
    await say(engine, (engine.worker, held[1], engine.claim_number), *({"done": n} for n in range(5)))
    assert len(await numbers(engine, held[1])) == 1_005


async def test_whatever_patches_are_said_they_come_to_the_same_when_they_are_joined(engine: Engine) -> None:
    """As each laid over the one before: objects within objects, nulls, and what was no object before."""
    chosen = random.Random(7)

    def value(depth: int) -> Any:
        if depth and chosen.random() < 0.6:
            return patch(depth - 1)
        return chosen.choice([None, 1, 2, [], "x"])

    def patch(depth: int = 3) -> dict[str, Any]:
        return {key: value(depth) for key in "abc" if chosen.random() < 0.6}

    texts = [[json.dumps(patch()) for _ in range(600)] for _ in range(3)]
    (row,) = await engine.sql(
        "SELECT count(*) AS said, count(j.one) AS joined, count(*) FILTER (WHERE j.one IS NOT NULL"
        "  AND merge_patch(j.target, j.one) <> merge_patch(merge_patch(j.target, u.b), u.c)) AS wrong"
        " FROM unnest($1::text[]::jsonb[], $2::text[]::jsonb[], $3::text[]::jsonb[]) AS u (a, b, c)"
        " CROSS JOIN LATERAL"
        "  (SELECT join_patches(u.b, u.c) AS one, merge_patch(NULL, u.a) AS target OFFSET 0) j",
        *texts,
    )
    assert row["wrong"] == 0
    assert row["said"] > row["joined"] > 300


async def test_what_cannot_be_joined_or_would_be_too_large_is_a_patch_of_its_own(engine: Engine) -> None:
    held = await started(engine)
    await say(engine, held, {"a": {"old": 1}}, *({"done": n} for n in range(999)))
    await no_second_passes(engine)
    await say(engine, held, {"a": 5}, {"a": {"new": 1}})
    assert await progress(engine, held[1]) == {"a": {"new": 1}, "done": 998}
    assert len(await numbers(engine, held[1])) == 1_001
    await no_second_passes(engine)
    await say(engine, held, {"b": "x" * 5_000}, {"c": "y" * 5_000})
    assert len(await numbers(engine, held[1])) == 1_002


async def test_who_has_lost_the_run_writes_nothing_into_the_last_patch_either(engine: Engine) -> None:
    worker, run, claim = held = await started(engine)
    await say(engine, held, *({"done": n} for n in range(1_000)))
    for stranger in ((uuid4(), run, claim), (worker, run, claim + 1)):
        ((answer,),) = await engine.sql(SAID, *stranger, ['{"done": -1}'])
        assert answer is False
    assert await progress(engine, run) == {"done": 999}


async def test_of_two_calls_at_once_neither_is_lost(engine: Engine, another: Another) -> None:
    held = await started(engine)
    other, watch = await another(), await another()
    await say(engine, held, *({"done": n} for n in range(1_000)))
    await no_second_passes(engine)
    async with other.db.transaction():
        await say(other, held, {"a": 1})
        saying = asyncio.create_task(say(engine, held, {"b": 2}))
        async with asyncio.timeout(60):
            await blocked(watch.db, engine.db.get_server_pid())
    await saying
    assert await progress(engine, held[1]) == {"done": 999, "a": 1, "b": 2}


async def test_a_run_that_somebody_has_locked_is_not_waited_for(engine: Engine, another: Another) -> None:
    held = await started(engine)
    other = await another()
    await say(engine, held, *({"done": n} for n in range(1_000)))
    async with other.db.transaction():
        await other.value("cancel_run", held[1], None)
        async with asyncio.timeout(60):
            await say(engine, held, {"done": 1_000})
    assert await progress(engine, held[1]) == {"done": 1_000}
