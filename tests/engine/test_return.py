"""Jobs that come back, and the fence of all that an attempt writes while it runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.engine.calls import NOTHING_TOLD, Engine
from tests.engine.conftest import Another


async def held(engine: Engine, count: int = 1, *, starting: int | None = None, **options: Any) -> list[Any]:
    await engine.add(count, **options)
    return [row["id"] for row in await engine.claim(starting=starting)]


async def put_back(
    engine: Engine, runs: list[Any], *, lost: bool, claims: list[int] | None = None
) -> list[str]:
    rows = await engine.sql(
        "SELECT * FROM put_back($1, $2::uuid[], $3, claims => $4::bigint[])",
        engine.worker,
        runs,
        lost,
        claims,
    )
    return [row["verdict"] for row in sorted(rows, key=lambda row: row["id"])]


async def test_what_had_not_begun_goes_back_as_if_never_claimed(engine: Engine) -> None:
    (run,) = await held(engine, starting=0)
    assert await put_back(engine, [run], lost=False) == ["ready"]
    assert await engine.call("run_attempts", run) == []
    (row,) = await engine.claim()
    assert (row["id"], row["attempt"], row["suspect"]) == (run, 1, False)


async def test_what_ran_at_shutdown_is_history_as_released_and_not_counted(engine: Engine) -> None:
    (run,) = await held(engine)
    assert await engine.sql("SELECT release_jobs($1)", engine.worker)
    assert [a["outcome"] for a in await engine.call("run_attempts", run)] == ["released"]
    (row,) = await engine.claim()
    assert (row["id"], row["attempt"], row["suspect"]) == (run, 1, False)
    assert [row["claim"] for row in await engine.sql("SELECT claim FROM claims")] == [engine.claim_number]


async def test_the_third_lost_worker_fails_the_run(engine: Engine) -> None:
    (run,) = await held(engine)
    verdicts = []
    for _ in range(3):
        verdicts += await put_back(engine, [run], lost=True)
        rows = await engine.claim()
        assert all(row["suspect"] and row["attempt"] == 1 and not row["started"] for row in rows)
        for row in rows:  # whatever was with a lost worker is shown as running before it runs
            assert (
                await engine.value("start_jobs", engine.worker, [row["id"]], [engine.claim_number], False)
                == []
            )
    assert verdicts == ["ready", "ready", "failed"]
    assert (await engine.run(run))["error"]["type"] == "WorkerLost"
    assert [a["outcome"] for a in await engine.call("run_attempts", run)] == ["lost", "lost", "failed"]


async def test_a_job_that_is_with_somebody_else_or_under_another_claim_is_not_put_back(
    engine: Engine, another: Another
) -> None:
    (run,) = await held(engine)
    stranger = await another()
    assert await put_back(stranger, [run, uuid4()], lost=False) == []
    assert await put_back(engine, [run], lost=False, claims=[engine.claim_number + 1]) == []
    assert await engine.status(run) == "running"
    assert await put_back(engine, [run, run], lost=False, claims=[engine.claim_number] * 2) == ["ready"]


async def test_a_run_to_be_cancelled_does_not_come_back(engine: Engine) -> None:
    (run,) = await held(engine)
    await engine.value("cancel_run", run, None)
    assert await put_back(engine, [run], lost=False) == ["cancelled"]
    assert await engine.status(run) == "cancelled"


async def test_a_claim_that_no_beat_names_is_released_once_it_is_old(engine: Engine) -> None:
    await engine.value("register_worker", engine.worker, "default", "n", "h", 1, "v", None, 1)
    (known,) = await held(engine)
    (stranded,) = await held(engine, starting=0)
    beat = ("beat_worker", engine.worker, "running", 1, ["1"])
    (row,) = await engine.call(*beat, timedelta(seconds=15), *NOTHING_TOLD)
    assert row["released"] == 0
    (row,) = await engine.call(*beat, timedelta(0), *NOTHING_TOLD)
    assert row["released"] == 1
    assert (await engine.status(known), await engine.status(stranded)) == ("running", "queued")
    assert await engine.finish([known], claims=[1]) == ["applied"]


async def test_a_rescue_takes_jobs_of_every_lane_and_leaves_other_workers_alone(
    engine: Engine, another: Another
) -> None:
    alive = await another()
    for one in (engine, alive):
        await one.value("register_worker", one.worker, "default", "n", "h", 1, "v", None, 1)
    await engine.add(2, queue_name="a", priority=3)
    mine = await held(engine, 2, queue_name="b")
    theirs = await held(alive, 2)
    await engine.sql("UPDATE workers SET beat_at = now() - interval '2 minutes' WHERE id = $1", engine.worker)
    rescuer = await another()
    rows = await rescuer.call("rescue", rescuer.worker, timedelta(seconds=3), timedelta(seconds=60))
    taken = {row["id"]: row["verdict"] for row in rows if row["id"] is not None}
    assert taken == dict.fromkeys(mine, "ready")
    assert await alive.finish(theirs, claims=[alive.claim_number]) == ["applied"] * 2
    assert await engine.sql("SELECT FROM claims WHERE worker = $1", engine.worker) == []
    assert await engine.finish(mine) == ["lost"] * len(mine)


async def test_jobs_of_a_worker_without_a_row_are_rescued(engine: Engine, another: Another) -> None:
    (run,) = await held(engine)
    rescuer = await another()
    rescue = ("rescue", rescuer.worker, timedelta(seconds=3), timedelta(seconds=60))
    assert await rescuer.call(*rescue) == []
    await engine.sql("UPDATE claims SET claimed_at = now() - interval '2 minutes'")
    assert [row["id"] for row in await rescuer.call(*rescue)] == [run]
    assert await engine.sql("SELECT FROM claims") == []


async def test_a_worker_that_has_only_just_appeared_is_no_suspect(engine: Engine, another: Another) -> None:
    """It is registered, and on a slow machine a while away from its lock and its first beat."""
    rescuer = await another()
    await engine.value("register_worker", engine.worker, "default", "n", "h", 1, "v", None, 1)

    async def suspects() -> list[Any]:
        rows = await rescuer.call("rescue", rescuer.worker, timedelta(minutes=3), timedelta(hours=1))
        return [row["worker"] for row in rows]

    later = "UPDATE workers SET started_at = started_at - $1::interval, beat_at = beat_at - $1::interval"
    assert await suspects() == []
    await engine.sql(later, timedelta(minutes=10))
    assert await suspects() == []
    await engine.sql(later, timedelta(minutes=6))
    assert await suspects() == [engine.worker]


async def test_a_worker_that_has_beaten_is_a_suspect_at_once_when_its_lock_is_free(
    engine: Engine, another: Another
) -> None:
    rescuer = await another()
    await engine.value("register_worker", engine.worker, "default", "n", "h", 1, "v", None, 1)
    await engine.call("beat_worker", engine.worker, "running", 0, [], timedelta(seconds=15), *NOTHING_TOLD)
    (row,) = await rescuer.call("rescue", rescuer.worker, timedelta(seconds=3), timedelta(seconds=60))
    assert (row["id"], row["worker"]) == (None, engine.worker)


# The fence of what an attempt writes.


async def log(engine: Engine, runs: list[Any], claims: list[int], kind: str, datas: list[str]) -> list[Any]:
    count = len(runs)
    lost: list[Any] = await engine.value(
        "log_runs", engine.worker, runs, claims, [kind] * count, [0.0] * count, datas
    )
    return lost


async def test_progress_and_log_lines_of_a_lost_lease_are_refused(engine: Engine, another: Another) -> None:
    run, other = await held(engine, 2)
    stranger = await another()
    claim = engine.claim_number
    assert await log(engine, [run, run], [claim, claim], "log", ['{"n": 1}', '{"n": 2}']) == []
    assert await log(stranger, [run], [claim], "log", ['{"n": 3}']) == [run]
    assert await log(engine, [run, other], [claim + 1, claim], "progress", ['{"n": 4}', '{"n": 5}']) == [run]
    assert await log(engine, [run, run], [claim + 1, claim], "log", ['{"n": 6}', '{"n": 7}']) == []
    rows = await engine.sql("SELECT run_id, data FROM run_log ORDER BY n")
    assert [(row["run_id"], row["data"]) for row in rows] == [
        (run, '{"n": 1}'),
        (run, '{"n": 2}'),
        (other, '{"n": 5}'),
        (run, '{"n": 7}'),
    ]


@pytest.mark.parametrize(
    ("patches", "progress"),
    [
        (['{"a": 1}', '{"b": 2}'], {"a": 1, "b": 2}),
        (
            ['{"a": {"x": 1, "y": {"z": 1}}}', '{"a": {"y": {"w": 2}}}'],
            {"a": {"x": 1, "y": {"z": 1, "w": 2}}},
        ),
        (['{"a": 1, "b": 1}', '{"a": null}'], {"b": 1}),
        (['{"a": {"x": 1}}', '{"a": [1, 2]}', '{"a": {"y": 2}}'], {"a": {"y": 2}}),
        (['{"a": {"b": null, "c": 1}}'], {"a": {"c": 1}}),
        (['{"a": [1, {"b": null}]}'], {"a": [1, {"b": None}]}),
    ],
)
async def test_progress_patches_are_merged_to_any_depth(
    engine: Engine, patches: list[str], progress: Any
) -> None:
    (run,) = await held(engine)
    for patch in patches:
        assert await log(engine, [run], [engine.claim_number], "progress", [patch]) == []
    assert (await engine.run(run))["progress"] == progress


async def test_a_bell_of_a_worker_without_a_row_is_turned_off_with_the_next_rescue(
    engine: Engine, another: Another
) -> None:
    """Or every enqueue would ring it for ever: it was turned on by one that had been given up meanwhile."""
    rescuer = await another()
    (row,) = await rescuer.sql("SELECT start_worker() AS id")
    for worker in (engine.worker, row["id"]):
        await engine.sql("SELECT set_bells($1, 'default', '{*}')", worker)
    await rescuer.sql("SELECT rescue($1)", rescuer.worker)
    assert [bell["worker"] for bell in await engine.sql("SELECT worker FROM bells")] == [row["id"]]
