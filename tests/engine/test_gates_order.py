"""What is claimed at its gate goes before nothing that is ready and more urgent, or was there first."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.engine.calls import Engine
from tests.engine.test_limits import control, ids, keyed


async def one_by_one(engine: Engine, most: int) -> list[UUID]:
    """So many claims of one job, each of which ends before the next."""
    taken: list[UUID] = []
    for _ in range(most):
        got = ids(await engine.claim(1))
        await engine.finish(got)
        taken += got
    return taken


async def test_keys_of_one_queue_go_in_the_order_of_their_jobs(engine: Engine) -> None:
    jobs = [(await keyed(engine, key, 1))[0] for key in ("a", "b", "a", "c", "a", "b", "a")]
    assert await one_by_one(engine, len(jobs)) == jobs


async def test_what_stands_ready_goes_first_and_what_room_is_left_is_filled_at_the_gates(
    engine: Engine,
) -> None:
    first = [(await keyed(engine, f"first{n}", 1))[0] for n in range(3)]
    assert ids(await engine.claim(1)) == first[:1]
    second = [(await keyed(engine, f"second{n}", 1))[0] for n in range(3)]
    assert {*ids(await engine.claim(3))} == {*first[1:], second[0]}
    assert ids(await engine.claim()) == second[1:]


@pytest.mark.parametrize("priority", [-1, 0])
async def test_a_fair_queue_is_not_passed_over_while_a_key_flows(engine: Engine, priority: int) -> None:
    await control(engine, "queue", "a_fair", fairness="round_robin")
    fair = [await engine.add_one(queue_name="a_fair", priority=priority, group_key=g) for g in "abcd"]
    assert ids(await engine.claim(1)) == fair[:1]  # the others have their turns now
    await keyed(engine, "k", 5)
    assert await one_by_one(engine, 3) == fair[1:]


async def test_what_has_aged_goes_before_it(engine: Engine) -> None:
    await control(engine, "queue", "old", ageing="1 minute")
    (old,) = await engine.add(1, queue_name="old", priority=5)
    await engine.sql("UPDATE jobs SET run_at = run_at - interval '1 hour'")
    await keyed(engine, "k", 2)
    assert ids(await engine.claim(1)) == [old]


@pytest.mark.parametrize("kind", ["task", "queue", "key"])
async def test_what_is_more_urgent_and_comes_out_with_it_goes_first(engine: Engine, kind: str) -> None:
    """It is not claimed at its gate itself, as something is said of it."""
    await control(engine, kind, "limited", concurrency=10)
    assert await engine.claim(1) == []
    (late,) = await keyed(engine, "k", 1)
    task, queue = "limited" if kind == "task" else "t", "limited" if kind == "queue" else "default"
    (urgent,) = await keyed(engine, "limited", 1, priority=-5, task=task, queue_name=queue)
    assert await one_by_one(engine, 2) == [urgent, late]


async def test_what_waited_for_its_task_and_is_more_urgent_goes_first(engine: Engine) -> None:
    await control(engine, "task", "limited", concurrency=1)
    urgent = await engine.add(2, task="limited", priority=-5)
    assert ids(await engine.claim()) == urgent[:1]
    await engine.finish(urgent[:1])
    (late,) = await keyed(engine, "k", 1)
    assert await one_by_one(engine, 2) == [urgent[1], late]


async def test_what_is_for_others_keeps_nobody_back(engine: Engine) -> None:
    """More urgent, let out by the same claim, of a task that the caller does not know."""
    await control(engine, "task", "other", concurrency=10)
    assert await engine.claim(1) == []
    await keyed(engine, "other", 1, priority=-5, task="other")
    (mine,) = await keyed(engine, "k", 1)
    assert ids(await engine.claim(1, tasks=["t"])) == [mine]
