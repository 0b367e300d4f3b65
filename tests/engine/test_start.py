"""Jobs that were claimed ahead begin: or not, if their deadline has passed or their lease is gone."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another


async def start(engine: Engine, *runs: object, begun: bool = False) -> list[object]:
    claims = [engine.claim_number] * len(runs)
    return list(await engine.value("start_jobs", engine.worker, list(runs), claims, begun))


async def test_a_job_whose_deadline_has_passed_does_not_begin_and_ends_as_expired(engine: Engine) -> None:
    heard: list[str] = []
    await engine.db.add_listener("openqueue", lambda *told: heard.append(told[-1]))
    late, good = await engine.add(2, deadline=await engine.db.fetchval("SELECT now() + interval '1 hour'"))
    await engine.claim(starting=0)
    await engine.value("await_run", late)
    await engine.sql("UPDATE jobs SET deadline = now() WHERE id = $1", late)
    assert await start(engine, late, good) == [late]
    assert [await engine.status(run) for run in (late, good)] == ["expired", "running"]
    run = await engine.run(late)
    assert (run["error"]["type"], run["attempt"], run["started_at"]) == ("Expired", 0, None)
    assert heard == [f'{{"done": ["{late}"]}}']
    assert await engine.finish([late]) == ["lost"]
    assert await engine.events(late) == ["enqueued", "expired"]


@pytest.mark.parametrize("begun", [False, True])
async def test_what_runs_already_goes_on_past_its_deadline(engine: Engine, begun: bool) -> None:
    run = await engine.add_one(deadline=await engine.db.fetchval("SELECT now() + interval '1 hour'"))
    await engine.claim(starting=0 if begun else 1)
    await engine.sql("UPDATE jobs SET deadline = now()")
    assert await start(engine, run, begun=begun) == []
    assert await engine.status(run) == "running"


async def test_a_report_of_what_has_begun_does_not_wait_for_a_job_that_somebody_has_locked(
    engine: Engine, another: Another
) -> None:
    other = await another()
    locked, free = await engine.add(2)
    await engine.claim(starting=0)
    async with other.db.transaction():
        await other.value("cancel_run", locked, None)
        async with asyncio.timeout(60):
            assert await start(engine, locked, free, begun=True) == []
    assert [await engine.status(run) for run in (locked, free)] == ["queued", "running"]
    assert await start(engine, locked, begun=True) == []
    assert await engine.status(locked) == "running"
