"""With ageing the first of each priority that a claim may take are compared: by who has waited how long."""

from __future__ import annotations

from uuid import UUID

import pytest

from openqueue.worker.intake.lanes import Lanes
from tests.engine.calls import Engine
from tests.engine.test_limits import control, ids


async def hour_old(engine: Engine, run: UUID) -> None:
    await engine.sql("UPDATE jobs SET run_at = run_at - interval '1 hour' WHERE id = $1", run)


@pytest.mark.parametrize("fairness", ["strict", "round_robin"])
async def test_what_nobody_here_knows_lends_its_age_to_nobody(engine: Engine, fairness: str) -> None:
    await control(engine, "queue", "default", ageing="1 minute", fairness=fairness)
    (unknown,) = await engine.add(task="other", priority=5)
    await hour_old(engine, unknown)
    (slow,) = await engine.add(priority=5)
    (urgent,) = await engine.add(priority=0)
    assert ids(await engine.claim(1, tasks=["t"])) == [urgent]
    assert ids(await engine.claim(1, tasks=["t"])) == [slow]


@pytest.mark.parametrize("fairness", ["strict", "round_robin"])
async def test_what_comes_back_from_its_gate_has_waited_there(engine: Engine, fairness: str) -> None:
    """Reading has passed its place since."""
    await control(engine, "queue", "default", ageing="1 minute", fairness=fairness)
    lanes = Lanes()
    first, waits = await engine.add(2, priority=5, concurrency_key="k")
    assert ids(await engine.claim_by(lanes, lanes.forward(), 1)) == [first]
    (behind,) = await engine.add(priority=5)
    assert ids(await engine.claim_by(lanes, lanes.forward(), 1)) == [behind]
    await hour_old(engine, waits)
    await engine.finish([first], claims=[1])
    urgent = await engine.add(2, priority=0)
    assert ids(await engine.claim_by(lanes, lanes.forward(), 1)) == [waits]
    assert ids(await engine.claim_by(lanes, lanes.forward())) == urgent


async def test_what_is_due_later_than_the_clock_says_loses_no_level(engine: Engine) -> None:
    """The clock was set back."""
    await control(engine, "queue", "default", ageing="1 minute")
    (ahead,) = await engine.add(priority=0)
    (usual,) = await engine.add(priority=5)
    await engine.sql("UPDATE jobs SET run_at = run_at + interval '1 hour' WHERE id = $1", ahead)
    assert ids(await engine.claim(1)) == [ahead]
    assert ids(await engine.claim(1)) == [usual]
