"""Many queues of which something is said: a claim looks at few of them, and yet none is left out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another
from tests.engine.test_limits import control, ids, keyed

QUEUES = 150
LIMIT = (
    "SELECT set_control('queue', 'q' || lpad(n::text, 3, '0'), $1::text::jsonb) FROM generate_series(1, $2) n"
)
ADD = """
    SELECT b.id FROM add_batch(ARRAY['t'], array_fill('{}'::jsonb, ARRAY[$1::integer]), 'default',
        ARRAY(SELECT 'q' || lpad(n::text, 3, '0') FROM generate_series(1, $1::integer) n)) b"""
FREE = "SELECT scope FROM slots WHERE scope LIKE 'queue %' FOR UPDATE SKIP LOCKED"


async def limited(engine: Engine, said: str = '{"concurrency": 1}') -> list[Any]:
    """One job in each of the queues, of which each has a limit; in their order."""
    await engine.sql(LIMIT, said, QUEUES)
    return ids(await engine.sql(ADD, QUEUES))


async def test_a_claim_locks_no_more_of_them_than_are_likely_to_fill_it(
    engine: Engine, another: Another
) -> None:
    jobs = await limited(engine)
    other = await another()
    assert ids(await engine.claim(1)) == jobs[:1]  # takes in that limits were said
    async with engine.db.transaction():
        assert ids(await engine.claim(10)) == jobs[1:11]
        assert len(await other.sql(FREE)) > QUEUES / 2
    assert len(engine.position["lanes"]) == QUEUES


async def test_the_next_claims_go_on_with_the_others(engine: Engine) -> None:
    jobs = await limited(engine)
    got = [job for _ in range(QUEUES // 10) for job in ids(await engine.claim(10))]
    assert got == jobs
    assert await engine.claim(10) == []


async def test_where_the_first_are_full_those_behind_are_reached(engine: Engine) -> None:
    jobs = await limited(engine)
    await engine.sql(LIMIT, '{"concurrency": 0}', QUEUES - 1)
    assert ids(await engine.claim(10)) == jobs[-1:]


async def test_where_the_first_have_nothing_for_the_caller_those_behind_are_reached(engine: Engine) -> None:
    """Something came back into each of them, of a task that the caller does not know."""
    jobs = await limited(engine)
    await engine.sql(
        "UPDATE jobs SET gate = 'back ' || queue, place = seq, task = 'other' WHERE id <> $1", jobs[-1]
    )
    assert ids(await engine.claim(10, tasks=["t"])) == jobs[-1:]


async def test_with_ageing_the_oldest_goes_first_wherever_it_is(engine: Engine) -> None:
    jobs = await limited(engine)
    last = f"q{QUEUES}"
    await control(engine, "queue", last, ageing="1 minute")
    await engine.sql("UPDATE jobs SET run_at = run_at - interval '1 hour' WHERE queue = $1", last)
    assert ids(await engine.claim(1)) == jobs[-1:]


@pytest.mark.parametrize("governed", [1, QUEUES])
async def test_a_claim_is_full_where_one_job_waits_in_each_and_more_might(
    engine: Engine, governed: int
) -> None:
    """Each queue may give more than one job, or any number of them, and has no more than one."""
    await engine.sql(LIMIT, '{"concurrency": 10}', governed)
    jobs = ids(await engine.sql(ADD, QUEUES))
    assert ids(await engine.claim(100)) == jobs[:100]
    assert ids(await engine.claim(100)) == jobs[100:]


async def test_two_lanes_of_a_queue_that_are_far_apart_share_its_room(engine: Engine) -> None:
    jobs = await limited(engine)
    for number in range(1, QUEUES + 1):
        await engine.add_one(queue_name=f"q{number:03}", priority=7)
    assert ids(await engine.claim(1000)) == jobs


async def test_a_claim_that_is_filled_at_the_gates_of_keys_locks_none_of_them(
    engine: Engine, another: Another
) -> None:
    jobs = await limited(engine)
    other = await another()
    assert ids(await engine.claim(1)) == jobs[:1]  # takes in that limits were said
    (key,) = await keyed(engine, "k", 1, priority=-1)
    async with engine.db.transaction():
        assert ids(await engine.claim(1)) == [key]
        assert len(await other.sql(FREE)) == QUEUES
