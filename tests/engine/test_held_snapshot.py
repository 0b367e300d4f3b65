"""C9: a transaction that is open all the time keeps every dead row alive; the last jobs cost what the first
did.

Cost is rows and index entries read, of live and dead rows; see test_plans. Full size with `make scale`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from openqueue.worker.intake.lanes import Lanes
from tests.engine.calls import Engine
from tests.engine.conftest import Another
from tests.engine.test_plans import touched

BATCH = 500
KEYED = """
    SELECT count(*) FROM add_batch(ARRAY['t'], array_fill('{}'::jsonb, ARRAY[$1::integer]), 'default',
        concurrency_keys => ARRAY(SELECT 'k' || i % $2 FROM generate_series(1, $1::integer) i))"""
full = pytest.mark.scale


@pytest.fixture
async def held(engine: Engine, another: Another) -> AsyncIterator[None]:
    """A transaction with a snapshot and an id, open for the whole test."""
    await engine.sql("ALTER TABLE jobs SET (autovacuum_enabled = off)")
    other = await another()
    async with other.db.transaction(isolation="repeatable_read"):
        await other.sql("SELECT pg_current_xact_id()")
        yield


class Passing:
    """A worker that claims, finishes, and notes what each of the two read."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.lanes = Lanes()
        self.costs: list[int] = []

    async def claim(self, most: int) -> list[Any]:
        rows = await self.engine.claim_by(self.lanes, self.lanes.forward(), most)
        return [row["id"] for row in rows]

    async def once(self, most: int) -> int:
        """One claim and one finish; answers how many jobs passed."""
        claimed: list[Any] = []

        async def claim() -> None:
            claimed.extend(await self.claim(most))

        cost = await touched(self.engine, claim)
        if claimed:
            cost += await touched(self.engine, lambda: self.engine.finish(claimed))
        self.costs.append(cost)
        return len(claimed)

    def is_flat(self, share: int = 10) -> bool:
        """Whether the last tenth costs as little as the first, by the middle value: some pages end."""
        part = max(1, len(self.costs) // share)
        first, last = sorted(self.costs[:part])[part // 2], sorted(self.costs[-part:])[part // 2]
        return last <= 1.1 * first


@pytest.mark.parametrize("jobs", [10_000, pytest.param(300_000, marks=full)])
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("held")
async def test_C9_the_last_of_a_backlog_passes_as_cheaply_as_the_first(engine: Engine, jobs: int) -> None:
    worker = Passing(engine)
    for _ in range(jobs // 10_000):
        await engine.bulk(10_000)
    assert sum([await worker.once(BATCH) for _ in range(jobs // BATCH)]) == jobs
    assert worker.is_flat(), worker.costs


@pytest.mark.parametrize("jobs", [500, pytest.param(20_000, marks=full)])
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("held")
async def test_C9_a_trickle_stays_cheap(engine: Engine, jobs: int) -> None:
    worker = Passing(engine)
    for _ in range(jobs):
        await engine.bulk(1)
        assert await worker.once(100) == 1
    assert worker.is_flat(), worker.costs


@pytest.mark.parametrize(("running", "jobs"), [(2000, 5000), pytest.param(10_000, 100_000, marks=full)])
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("held")
async def test_C9_jobs_that_run_for_long_at_the_head_of_their_lane_are_not_in_the_way(
    engine: Engine, another: Another, running: int, jobs: int
) -> None:
    free = Passing(await another())
    await free.engine.bulk(BATCH, queue="free")
    await free.once(BATCH)
    worker = Passing(engine)
    await engine.bulk(running)
    assert len(await worker.claim(running)) == running
    await engine.bulk(jobs)
    assert sum([await worker.once(BATCH) for _ in range(jobs // BATCH)]) == jobs
    assert worker.is_flat(), worker.costs
    assert sorted(worker.costs)[-2] <= 1.2 * free.costs[0] + 50, "as if nothing stood before them"


@pytest.mark.parametrize("keys", [10, 50])
@pytest.mark.parametrize("plain", [0, 20])
@pytest.mark.parametrize("governed", [False, True])
@pytest.mark.usefixtures("held")
async def test_C9_a_claim_that_is_filled_at_the_gates_of_keys_is_not_followed_by_a_look_at_what_has_gone(
    engine: Engine, keys: int, plain: int, governed: bool
) -> None:
    """With others in the lane that wait meanwhile or not; with more keys than are claimed at once or not."""
    if governed:
        await engine.sql("SELECT set_control('task', 'other', '{\"concurrency\": 1}')")
    worker = Passing(engine)
    await engine.sql(KEYED, 300, keys)
    await engine.bulk(plain)
    for _ in range(25):
        assert await worker.once(10) == 10
    (lane,) = worker.lanes.forward().cursors
    (gone,) = await engine.sql("SELECT count(*) AS jobs FROM attempts")
    assert gone["jobs"] == 250
    assert lane >= 240
    assert sum([await worker.once(10) for _ in range(10)]) == 50 + plain, "what stood before it is found"
