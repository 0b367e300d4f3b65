"""Limits, rates and pauses: what may begin, what is set aside, and how it comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.engine.calls import Engine
from tests.engine.conftest import Another


def ids(rows: list[Any]) -> list[Any]:
    return [row["id"] for row in rows]


async def control(engine: Engine, kind: str, name: str, **change: Any) -> None:
    await engine.sql("SELECT set_control($1, $2, $3::text::jsonb)", kind, name, json.dumps(change))


async def keyed(engine: Engine, key: str, count: int, limit: int = 1, **options: Any) -> list[UUID]:
    """Jobs of one concurrency key; of a limit of one the head keeps its slot until its retry."""
    jobs = await engine.add(count, concurrency_key=key, **options)
    await engine.sql(
        "UPDATE jobs SET key_limit = $1::smallint, keeps_slot = $1::smallint = 1 WHERE id = ANY ($2)",
        limit,
        jobs,
    )
    return jobs


async def used(engine: Engine) -> dict[str, int]:
    """Slots taken: those that have come back are taken off."""
    rows = await engine.sql(
        "SELECT s.scope, s.used - COALESCE((SELECT sum(o.freed) FROM openings o"
        " WHERE o.namespace = s.namespace AND o.scope = s.scope), 0) AS used FROM slots s ORDER BY 1"
    )
    return {row["scope"]: int(row["used"]) for row in rows}


async def test_a_queue_with_a_limit_gives_no_more_than_that_and_the_next_when_one_ends(
    engine: Engine,
) -> None:
    await control(engine, "queue", "default", concurrency=3)
    jobs = await engine.bulk(10)
    other = await engine.add_one(queue_name="other")
    first = ids(await engine.claim())
    assert set(first) == {*jobs[:3], other}
    assert ids(await engine.claim()) == []
    await engine.finish([jobs[0], other], claims=[1])
    assert ids(await engine.claim()) == [jobs[3]]
    assert await used(engine) == {"queue default": 3}


async def test_a_task_with_a_limit_is_set_aside_and_comes_back_in_order(engine: Engine) -> None:
    await control(engine, "task", "t", concurrency=2)
    jobs = await engine.add(6)
    free = await engine.add(2, task="free")
    assert ids(await engine.claim()) == [*jobs[:2], *free]
    assert [await engine.status(job) for job in jobs[2:]] == ["blocked"] * 4
    await engine.finish([jobs[1]])
    assert ids(await engine.claim()) == [jobs[2]]
    await engine.finish([jobs[0]], claims=[1])
    await engine.finish([jobs[2]])
    assert ids(await engine.claim()) == jobs[3:5]
    await engine.finish(jobs[3:5])
    assert ids(await engine.claim()) == [jobs[5]]
    await engine.finish([jobs[5]])
    assert await used(engine) == {"task t": 0}


async def test_C4_a_key_that_is_full_blocks_nobody_else(engine: Engine) -> None:
    busy = await keyed(engine, "busy", 50, limit=2)
    others = [*(await keyed(engine, "other", 1)), *(await engine.add(3))]
    assert ids(await engine.claim(10)) == [*busy[:2], *others]
    assert await used(engine) == {"key busy": 2, "key other": 1}


async def test_C6_a_serial_key_keeps_its_order_also_over_a_retry(engine: Engine) -> None:
    jobs = await keyed(engine, "k", 3)
    assert ids(await engine.claim()) == jobs[:1]
    await engine.finish(jobs[:1], ["retry"], delays=[3600.0])
    assert ids(await engine.claim()) == []
    await engine.sql("SELECT promote_run($1)", jobs[0])
    assert ids(await engine.claim()) == jobs[:1]
    await engine.finish(jobs[:1])
    for job in jobs[1:]:
        assert ids(await engine.claim()) == [job]
        await engine.finish([job])
    assert ids(await engine.claim()) == []
    assert not any((await used(engine)).values())


async def test_a_failed_head_steps_aside_where_it_does_not_keep_its_slot(engine: Engine) -> None:
    jobs = await keyed(engine, "k", 2)
    await engine.sql("UPDATE jobs SET keeps_slot = false")
    assert ids(await engine.claim()) == jobs[:1]
    await engine.finish(jobs[:1], ["retry"], delays=[3600.0])
    assert ids(await engine.claim()) == jobs[1:]


@pytest.mark.parametrize("end", ["cancel", "expire", "release", "rescue", "fail"])
async def test_a_slot_comes_back_whatever_becomes_of_the_job(engine: Engine, end: str) -> None:
    jobs = await keyed(engine, "k", 2)
    await engine.claim(1)
    if end == "cancel":
        await engine.finish(jobs[:1], ["retry"], delays=[3600.0])
        await engine.sql("SELECT cancel_run($1)", jobs[0])
    elif end == "expire":
        await engine.sql("UPDATE jobs SET state = 'c', deadline = clock_timestamp() WHERE id = $1", jobs[0])
        await engine.call("start_jobs", engine.worker, jobs[:1], [1], False)
    elif end == "release":
        await engine.sql("SELECT release_jobs($1)", engine.worker)
    elif end == "rescue":
        await engine.sql("SELECT put_back($1, $2, true)", engine.worker, jobs[:1])
    else:
        await engine.finish(jobs[:1], ["failed"], errors=[{"type": "E"}])
    again = end in ("release", "rescue")  # who is given back keeps the slot, as it keeps its place
    assert ids(await engine.claim()) == (jobs[:1] if again else jobs[1:])
    await engine.finish(jobs[:1] if again else jobs[1:])
    assert await used(engine) in ({}, {"key k": 0})
    assert len(await engine.claim()) == again


async def test_C3_a_limit_holds_while_a_claim_is_open_and_its_rollback_gives_the_slot_back(
    engine: Engine, another: Another
) -> None:
    jobs = await keyed(engine, "k", 3, limit=2)
    open_one = await another()
    transaction = open_one.db.transaction()
    await transaction.start()
    assert ids(await open_one.claim(1)) == jobs[:1]
    free = await engine.add(2)
    assert ids(await engine.claim()) == free  # the key is another claim's for now; nobody else waits for it
    await transaction.rollback()
    assert ids(await engine.claim()) == jobs[:2]
    assert await used(engine) == {"key k": 2}


async def test_C3_claimers_never_pass_a_limit(engine: Engine, another: Another) -> None:
    await control(engine, "task", "t", concurrency=5)
    for key in range(5):
        await keyed(engine, f"k{key}", 20, limit=2)
    done: list[UUID] = []
    over = (
        "SELECT FROM jobs WHERE worker <> nobody() GROUP BY concurrency_key HAVING count(*) > 2"
        " UNION ALL SELECT FROM jobs WHERE worker <> nobody() HAVING count(*) > 5"
    )

    async def work(worker: Engine) -> None:
        while len(done) < 100:
            rows = ids(await worker.claim(4))
            assert await worker.sql(over) == []
            left: list[UUID | None] = list(rows)
            while left:
                verdicts = await worker.finish(left)
                left = [job for job, verdict in zip(left, verdicts, strict=True) if verdict == "busy"]
            done.extend(rows)

    await asyncio.gather(*[work(await another()) for _ in range(4)])
    assert len(done) == len(set(done)) == 100
    assert not any((await used(engine)).values())


async def test_a_limit_that_is_said_while_jobs_run_counts_them(engine: Engine) -> None:
    jobs = await engine.add(4)
    assert ids(await engine.claim(2)) == jobs[:2]
    await control(engine, "queue", "default", concurrency=3)
    assert ids(await engine.claim()) == [jobs[2]]
    await control(engine, "queue", "default", concurrency=2)
    await engine.finish(jobs[:1], claims=[1])
    assert ids(await engine.claim()) == []
    await control(engine, "queue", "default", concurrency=None)
    assert ids(await engine.claim()) == [jobs[3]]


async def test_a_rate_lets_a_burst_through_and_says_when_to_come_again(engine: Engine) -> None:
    await control(engine, "task", "t", rate=1, period="1 hour", burst=3)
    jobs = await engine.add(5)
    assert ids(await engine.claim()) == jobs[:3]
    assert await engine.claim() == []
    assert 3500 < engine.position["due"] <= 3600
    await engine.sql("UPDATE slots SET next_at = next_at - interval '1 hour'")
    await engine.sql("UPDATE openings SET at = at - interval '1 hour'")
    assert ids(await engine.claim()) == [jobs[3]]


async def test_a_rate_of_a_queue_costs_one_look(engine: Engine) -> None:
    await control(engine, "queue", "default", rate=2, period="1 hour")
    jobs = await engine.add(3)
    assert ids(await engine.claim()) == jobs[:1]
    assert await engine.claim() == []
    assert 1700 < engine.position["due"] <= 1800
    assert [await engine.status(job) for job in jobs[1:]] == ["queued", "queued"]


@pytest.mark.parametrize("what", ["queue", "task", "all"])
async def test_a_pause_holds_until_it_is_ended(engine: Engine, what: str) -> None:
    name = {"queue": "'default'", "task": "'t'", "all": ""}[what]
    await engine.sql(f"SELECT pause_{what}({name})")
    jobs = await engine.add(3)
    assert await engine.claim() == []
    await engine.sql(f"SELECT resume_{what}({name})")
    assert ids(await engine.claim()) == jobs


async def test_a_pause_ends_by_itself(engine: Engine) -> None:
    await engine.sql("SELECT pause_task('t', clock_timestamp() + interval '1 hour')")
    jobs = await engine.add(2)
    assert await engine.claim() == []
    assert 3500 < engine.position["due"] <= 3600
    await engine.sql("UPDATE controls SET paused_until = clock_timestamp()")
    await engine.sql("UPDATE openings SET at = clock_timestamp()")
    assert ids(await engine.claim()) == jobs


async def test_a_pause_that_is_over_governs_nothing(engine: Engine) -> None:
    await engine.sql("SELECT pause_queue('default', clock_timestamp() + interval '1 hour')")
    jobs = await engine.add(2)
    assert await engine.claim() == []
    await engine.sql("UPDATE controls SET paused_until = clock_timestamp()")
    await engine.sql("UPDATE openings SET at = clock_timestamp()")
    assert ids(await engine.claim(1)) == jobs[:1]
    assert ids(await engine.claim()) == jobs[1:]
    assert not engine.position["governed"]


async def test_a_long_row_of_one_key_is_set_aside_at_once(engine: Engine) -> None:
    await control(engine, "task", "busy", concurrency=1)
    jobs = await engine.bulk(400, task="busy")
    (free,) = await engine.add(1)
    assert ids(await engine.claim(100)) == jobs[:1]
    assert engine.position["more"] is True
    assert ids(await engine.claim(100)) == [free]


async def test_a_claim_of_one_lane_finds_nothing_that_waits_at_a_gate(engine: Engine) -> None:
    jobs = await keyed(engine, "k", 2)
    assert await engine.claim_lane() == []
    assert ids(await engine.claim()) == jobs[:1]


@pytest.mark.parametrize(
    ("kind", "name", "change", "field"),
    [
        ("queu", "mail", {}, "kind"),
        ("queue", "", {}, "name"),
        ("all", "mail", {}, "name"),
        ("queue", "mail", {"concurency": 1}, "concurency"),
        ("queue", "mail", {"concurrency": -1}, "concurrency"),
        ("queue", "mail", {"concurrency": "x"}, "concurrency"),
        ("queue", "mail", {"rate": 5}, "rate"),
        ("queue", "mail", {"rate": 5, "period": "soon"}, "period"),
        ("queue", "mail", {"rate": 5, "period": "0 s"}, "period"),
        ("queue", "mail", {"fairness": "round robin"}, "fairness"),
        ("task", "t", {"fairness": "strict"}, "fairness"),
        ("group", "g", {"weight": 2}, "queue"),
        ("task", "t", {"paused_until": "never"}, "paused_until"),
        ("task", "t", {"paused_until": "12000-01-01"}, "paused_until"),
        ("queue", "mail", {"rate": 5, "period": "1000000 years"}, "period"),
        ("queue", "mail", {"ageing": "1000000 years"}, "ageing"),
        ("queue", "mail", {"ageing": "-1 s"}, "ageing"),
    ],
)
async def test_what_cannot_be_said_is_refused_with_the_field_named(
    engine: Engine, kind: str, name: str, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(Exception, match=rf"^{field} ") as caught:
        await control(engine, kind, name, **change)
    assert caught.value.sqlstate == "22023"  # type: ignore[attr-defined]
    assert await engine.sql("SELECT FROM controls") == []


async def test_an_opening_that_becomes_due_while_a_claim_looks_is_not_lost(engine: Engine) -> None:
    """Who takes in what is due leaves another opening where somebody still waits."""
    await control(engine, "task", "t", rate=1, period="1 hour")
    await engine.add(3)
    await engine.claim()
    await engine.sql("UPDATE openings SET at = clock_timestamp() - interval '1 second'")
    await engine.sql("SELECT open_gates('default')")
    (opening,) = await engine.sql("SELECT at > clock_timestamp() AS comes FROM openings")
    assert opening["comes"]


async def test_a_rate_that_gathers_while_a_claim_looks_is_not_waited_for_a_minute(engine: Engine) -> None:
    """Whenever in the look it happens: it is tried at many moments."""
    await control(engine, "task", "t", rate=1, period="1 hour")
    await engine.add(3)
    await engine.claim()
    for step in range(300):
        await engine.sql("DELETE FROM openings")
        await engine.sql(
            "WITH soon AS (UPDATE slots SET next_at = clock_timestamp() + $1 * interval '10 us' RETURNING 1)"
            " SELECT count(*) FROM soon",
            float(step),
        )
        await engine.sql("SELECT look_again('default', ARRAY['task t'], ARRAY[0])")
        (opening,) = await engine.sql(
            "SELECT extract(epoch FROM at - clock_timestamp())::float8 AS s FROM openings"
        )
        assert opening["s"] < 30, step


async def test_who_claims_next_is_not_woken_for_what_it_finishes(engine: Engine) -> None:
    """Nor is anybody for what one claim lets out of a gate and takes; but for the rest of it."""
    await engine.sql("INSERT INTO bells (worker, namespace, queue) VALUES ($1, 'default', '*')", uuid4())
    jobs = await keyed(engine, "k", 4, limit=2)
    heard: list[str] = []
    await engine.db.add_listener("openqueue", lambda *told: heard.append(str(told[-1])))
    assert ids(await engine.claim()) == jobs[:2]
    assert heard == []
    finish = (
        "SELECT finish_jobs($1, $2::uuid[], ARRAY[$3::bigint], ARRAY['completed'], claiming => $4::boolean)"
    )
    await engine.sql(finish, engine.worker, jobs[:1], engine.claim_number, True)
    assert ids(await engine.claim()) == jobs[2:3]
    assert heard == []
    await engine.sql(finish, engine.worker, jobs[1:2], engine.claim_number - 1, False)
    assert [json.loads(one)["ready"] for one in heard] == [[]]
    heard.clear()
    assert ids(await engine.claim(tasks=["another"])) == []
    assert [json.loads(one)["ready"] for one in heard] == [[]]
    assert ids(await engine.claim()) == jobs[3:]
