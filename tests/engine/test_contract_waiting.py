"""Jobs that wait may be edited, moved and given up; those that somebody holds are left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.engine.calls import Engine

LATER = datetime.now(UTC) + timedelta(hours=5)


async def edit(engine: Engine, run: UUID, options: str) -> Any:
    return (await engine.sql(f"SELECT edit_run($1, {options})", run))[0][0]


async def outcomes(engine: Engine, call: str, *arguments: Any) -> list[tuple[UUID, str]]:
    return [(row["id"], row["outcome"]) for row in await engine.sql(f"SELECT * FROM {call}", *arguments)]


async def test_a_waiting_run_is_edited_and_keeps_its_place(engine: Engine) -> None:
    first, second = await engine.add(2, payload={"a": 1}, meta={"m": 1})
    assert (
        await edit(engine, first, """payload => '{"b": 2}', tags => '{x}', max_attempts => 3""") == "edited"
    )
    found = await engine.run(first)
    assert (found["input"], found["meta"], found["tags"], found["max_attempts"]) == (
        {"b": 2},
        {"m": 1},
        ["x"],
        3,
    )
    rows = await engine.claim()
    assert [(row["id"], row["max_attempts"], row["input"]) for row in rows] == [
        (first, 3, '{"b": 2}'),
        (second, 25, '{"a": 1}'),
    ]


async def test_a_run_that_is_moved_goes_to_the_end_of_its_new_line(engine: Engine) -> None:
    first, second = await engine.add_one(), await engine.add_one(queue_name="other", priority=3)
    assert await edit(engine, first, "queue_name => 'other', priority => 3") == "edited"
    found = await engine.run(first)
    assert (found["queue"], found["priority"]) == ("other", 3)
    assert [row["id"] for row in await engine.claim(queues={"other": None})] == [second, first]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_time_moves_a_run_out_of_line_and_into_it(engine: Engine, waits: bool) -> None:
    run = await engine.add_one(run_at=LATER if waits else None)
    await engine.sql("SELECT edit_run($1, run_at => $2)", run, datetime.now(UTC) if waits else LATER)
    assert await engine.status(run) == ("queued" if waits else "scheduled")
    assert [row["id"] for row in await engine.claim()] == ([run] if waits else [])


async def test_a_deadline_is_set_and_taken_away(engine: Engine) -> None:
    run = await engine.add_one()
    await engine.sql("SELECT edit_run($1, deadline => $2)", run, LATER)
    assert (await engine.run(run))["deadline"] == LATER
    await edit(engine, run, "deadline => 'infinity'")
    assert (await engine.run(run))["deadline"] is None
    assert (await engine.claim())[0]["deadline"] is None


async def test_what_has_begun_is_history_and_not_edited(engine: Engine) -> None:
    done, tried, held = await engine.add(3)
    await engine.claim(2)
    await engine.finish([done, tried], ["completed", "retry"], delays=[None, 3600.0])
    await engine.claim(1)
    found = [await edit(engine, run, "priority => 1") for run in (done, tried, held, uuid4())]
    assert found == ["finished", "started", "running", "unknown"]


async def test_waiting_jobs_are_rescheduled_in_one_call_and_told_one_by_one(engine: Engine) -> None:
    done, tried, held, fresh = await engine.add(4)
    nobody = uuid4()
    await engine.claim(2)
    await engine.finish([done, tried], ["completed", "retry"], delays=[None, 3600.0])
    await engine.claim(1)
    asked = [fresh, tried, held, done, nobody, fresh]
    told = await outcomes(engine, "reschedule_jobs($1, now(), priority => -4)", asked)
    words = ["rescheduled", "rescheduled", "running", "finished", "unknown", "rescheduled"]
    assert told == list(zip(asked, words, strict=True))
    assert {row["id"] for row in await engine.claim()} == {tried, fresh}
    assert [(await engine.run(run))["priority"] for run in (tried, fresh, held)] == [-4, -4, 0]


async def test_a_retry_that_is_put_off_is_still_a_retry(engine: Engine) -> None:
    run = await engine.add_one()
    await engine.claim()
    await engine.finish([run], "retry", delays=[0.0])
    assert await engine.status(run) == "queued"
    await outcomes(engine, "reschedule_jobs($1, $2)", [run], LATER)
    found = await engine.run(run)
    assert (found["status"], found["run_at"], found["attempt"]) == ("retrying", LATER, 1)


async def test_waiting_jobs_fail_for_good(engine: Engine) -> None:
    waits, held = await engine.add_one(priority=1), await engine.add_one()
    await engine.claim(1)
    told = await outcomes(engine, "permanently_fail_jobs($1, 'the customer is gone')", [waits, held])
    assert told == [(waits, "failed"), (held, "running")]
    found = await engine.run(waits)
    assert (found["status"], found["error"]["message"]) == ("failed", "the customer is gone")
    assert (await engine.sql("SELECT retry_run($1)", waits))[0][0] == "ready"


async def test_a_key_is_removed_from_each_task_or_from_one(engine: Engine) -> None:
    held = await engine.add_one(task="a", job_key="k")
    await engine.claim()
    b, c = [await engine.add_one(task=task, job_key="k") for task in "bc"]
    assert await outcomes(engine, "remove_job('k', 'b')") == [(b, "cancelled")]
    assert await outcomes(engine, "remove_job('k')") == [(held, "running"), (c, "cancelled")]
    assert await outcomes(engine, "remove_job('k')") == []
    assert [await engine.status(run) for run in (held, b, c)] == ["running", "cancelled", "cancelled"]


async def test_a_retry_may_be_given_more_attempts(engine: Engine) -> None:
    run = await engine.add_one(max_attempts=1)
    await engine.claim()
    await engine.finish([run], "retry", delays=[3600.0])
    await outcomes(engine, "reschedule_jobs($1, now(), max_attempts => 3)", [run])
    found = await engine.run(run)
    assert (found["attempt"], found["max_attempts"]) == (1, 3)
    assert [row["max_attempts"] for row in await engine.claim()] == [3]
