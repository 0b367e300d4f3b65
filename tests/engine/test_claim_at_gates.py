"""What a key lets through is claimed at its gate: as if it had gone through its lane, whatever else holds."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another
from tests.engine.test_limits import control, ids, keyed, used

CLAIM = "SELECT id, started, returned FROM claim_jobs($1, $2, $3, {}) WHERE id IS NOT NULL"


async def claim(engine: Engine, most: int, said: str) -> list[Any]:
    engine.claim_number += 1
    return await engine.sql(CLAIM.format(said), engine.worker, engine.claim_number, most)


async def of_keys(engine: Engine, keys: int, **options: Any) -> list[UUID]:
    """One job of each of so many keys."""
    return [job for key in range(keys) for job in await keyed(engine, f"k{key}", 1, **options)]


async def gates(engine: Engine) -> dict[str, str | None]:
    """Where each job that nobody holds stands."""
    rows = await engine.sql("SELECT concurrency_key, gate FROM jobs WHERE claim = 0")
    return {row["concurrency_key"]: row["gate"] for row in rows}


async def test_it_is_claimed_with_the_slot_and_never_stands_in_its_lane(engine: Engine) -> None:
    (job,) = await keyed(engine, "k", 1)
    (row,) = await claim(engine, 10, "promote => false")
    assert (row["id"], row["started"], row["returned"]) == (job, True, True)
    (held,) = await engine.sql("SELECT state, attempt, slots, gate, place, seq FROM jobs")
    assert tuple(held.values())[:5] == (b"r", 1, 4, None, None)
    assert await used(engine) == {"key k": 1}
    assert await engine.finish([job]) == ["applied"]
    (ended,) = await engine.sql("SELECT outcome, attempt, counted, final FROM attempts")
    assert tuple(ended.values()) == ("completed", 1, 1, True)


async def test_what_is_more_urgent_and_ready_goes_before_it(engine: Engine) -> None:
    (later,) = await keyed(engine, "k", 1)
    (soon,) = await engine.add(1, priority=-1)
    assert ids(await engine.claim(1)) == [soon]
    assert ids(await engine.claim(1)) == [later]


async def test_queues_of_one_priority_take_turns_with_it(engine: Engine) -> None:
    (gated,) = await keyed(engine, "k", 1, queue_name="a")
    (plain,) = await engine.add(1, queue_name="b")
    assert ids(await claim(engine, 1, "last_queue => 'a'")) == [plain]
    assert ids(await claim(engine, 1, "last_queue => 'b'")) == [gated]


async def test_several_are_taken_by_priority_then_queue_by_queue(engine: Engine) -> None:
    late = await keyed(engine, "late", 1, priority=5)
    b, a = await keyed(engine, "b", 1, queue_name="b"), await keyed(engine, "a", 1, queue_name="a")
    assert ids(await claim(engine, 2, "last_queue => 'a'")) == b + a
    assert ids(await engine.claim()) == late


async def test_a_claim_takes_no_more_than_it_has_room_for_and_the_rest_stands_ready(engine: Engine) -> None:
    jobs = await of_keys(engine, 5)
    assert ids(await engine.claim(2)) == jobs[:2]
    assert {*(await gates(engine)).values()} == {"back default"}
    assert ids(await engine.claim(2)) == jobs[2:4]
    assert ids(await engine.claim(2)) == jobs[4:]


async def test_with_what_is_in_line_it_takes_no_more_than_it_has_room_for(engine: Engine) -> None:
    jobs, plain = await of_keys(engine, 2), await engine.add(5)
    assert ids(await engine.claim(4)) == jobs + plain[:2]
    (note,) = await engine.sql("SELECT first_seq, last_seq FROM claims")
    (held,) = await engine.sql("SELECT min(seq) AS first, max(seq) AS last FROM jobs WHERE claim > 0")
    assert tuple(note.values()) == tuple(held.values())
    assert ids(await engine.claim(4)) == plain[2:]


async def test_a_claim_takes_no_more_bytes_than_it_may(engine: Engine) -> None:
    jobs, plain = await of_keys(engine, 3, payload={"x": "y" * 1000}), await engine.add(1)
    assert ids(await claim(engine, 10, "bytes => 1")) == jobs[:1]
    assert ids(await claim(engine, 10, "bytes => 1500")) == jobs[1:]
    assert ids(await engine.claim()) == plain


async def test_as_many_start_as_there_are_places(engine: Engine) -> None:
    jobs, plain = await of_keys(engine, 2), await engine.add(2)
    rows = await claim(engine, 10, "starting => 3")
    assert [(row["id"], row["started"]) for row in rows] == [
        *((job, True) for job in jobs),
        (plain[0], True),
        (plain[1], False),
    ]


@pytest.mark.parametrize("said", ["tasks => '{t}'", "queues => '{default}'"])
async def test_what_the_caller_does_not_work_on_is_left_for_others(engine: Engine, said: str) -> None:
    await keyed(engine, "k", 1, task="other", queue_name="others")
    (mine,) = await keyed(engine, "mine", 1)
    assert ids(await claim(engine, 10, said)) == [mine]
    assert await gates(engine) == {"k": "back others"}
    assert len(await engine.claim()) == 1


@pytest.mark.parametrize("kind", ["all", "queue", "task"])
async def test_what_is_paused_is_not_claimed(engine: Engine, kind: str) -> None:
    jobs = await of_keys(engine, 2)
    name = {"all": "", "queue": "default", "task": "t"}[kind]
    await control(engine, kind, name, paused_until="infinity")
    assert await engine.claim() == []
    await control(engine, kind, name, paused_until=None)
    await engine.sql("UPDATE openings SET at = clock_timestamp()")
    assert {*ids(await engine.claim())} == {*jobs}


@pytest.mark.parametrize(("kind", "name"), [("queue", "default"), ("task", "t")])
async def test_another_limit_holds_as_well(engine: Engine, kind: str, name: str) -> None:
    jobs = await of_keys(engine, 3)
    await control(engine, kind, name, concurrency=2)
    assert ids(await engine.claim()) == jobs[:2]
    assert (await used(engine))[f"{kind} {name}"] == 2
    await engine.finish(jobs[:1])
    assert ids(await engine.claim()) == jobs[2:]


async def test_a_limit_of_something_else_does_not_keep_it_from_being_claimed_at_once(engine: Engine) -> None:
    await control(engine, "queue", "other", concurrency=1)
    await control(engine, "task", "other", concurrency=1)
    jobs = await of_keys(engine, 2)
    assert ids(await engine.claim(1)) == jobs[:1]
    await engine.sql("SELECT release_jobs($1)", engine.worker)
    assert {*ids(await engine.claim())} == {*jobs}


@pytest.mark.parametrize("way", ["release_jobs($1)", "put_back($1, held_jobs($1), true)"])
async def test_what_a_claim_took_at_gates_and_in_line_is_found_again(engine: Engine, way: str) -> None:
    jobs = [*await keyed(engine, "k", 2), *await of_keys(engine, 2), *await engine.add(2)]
    first = ids(await engine.claim())
    assert {*first} == {*jobs} - {jobs[1]}
    await engine.sql(f"SELECT {way}", engine.worker)
    assert {*ids(await engine.claim())} == {*first}  # the head of the key first, as before
    await engine.finish(first)
    assert ids(await engine.claim()) == [jobs[1]]


async def test_two_places_of_a_key_are_two_jobs_at_once_in_their_order(engine: Engine) -> None:
    jobs = await keyed(engine, "k", 5, limit=2)
    assert ids(await engine.claim()) == jobs[:2]
    assert await engine.claim() == []
    assert await engine.finish(jobs[:2], claims=[1]) == ["applied"] * 2
    assert ids(await engine.claim()) == jobs[2:4]
    assert await used(engine) == {"key k": 2}


async def test_who_is_locked_keeps_the_turn_of_a_serial_key(engine: Engine, another: Another) -> None:
    jobs = await keyed(engine, "k", 2)
    other = await another()
    async with other.db.transaction():
        await other.sql("SELECT FROM jobs WHERE id = $1 FOR UPDATE", jobs[0])
        assert await engine.claim() == []
    await engine.sql("UPDATE openings SET at = clock_timestamp()")
    assert ids(await engine.claim()) == jobs[:1]


async def test_counted_and_other_outcomes_end_in_one_call_each_with_its_verdict(engine: Engine) -> None:
    jobs, plain = await of_keys(engine, 3), await engine.add(2)
    assert len(await engine.claim()) == 5
    await engine.sql("SELECT await_run($1)", jobs[0])
    outcomes = ["completed", "retry", "completed", "completed", "failed"]
    assert await engine.finish([*jobs, *plain], outcomes, delays=[60.0] * 5) == ["applied"] * 5
    assert await engine.finish([*jobs, *plain], outcomes, delays=[60.0] * 5) == ["repeated"] * 5
    found = await engine.sql("SELECT run_id, outcome FROM attempts")
    assert {row["run_id"]: row["outcome"] for row in found} == dict(
        zip([*jobs, *plain], ["completed", "failed", "completed", "completed", "failed"], strict=True)
    )
    assert {scope: number for scope, number in (await used(engine)).items() if number} == {"key k1": 1}


async def test_one_whose_lease_is_gone_gives_no_slot_back(engine: Engine) -> None:
    (job,) = await keyed(engine, "k", 1)
    await engine.claim()
    assert await engine.finish([job], claims=[99]) == ["lost"]
    assert await used(engine) == {"key k": 1}


async def test_nobody_is_woken_for_what_is_claimed_at_once(engine: Engine) -> None:
    await engine.sql(
        "INSERT INTO bells (worker, namespace, queue) VALUES (gen_random_uuid(), 'default', '*')"
    )
    await of_keys(engine, 3)
    heard: list[str] = []
    await engine.db.add_listener("openqueue", lambda *told: heard.append(str(told[-1])))
    await engine.claim(2)
    assert [json.loads(one)["ready"] for one in heard] == [[]]  # for the third
    heard.clear()
    await engine.claim(2)
    assert heard == []
