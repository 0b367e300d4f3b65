"""Ticks: each time of a schedule is decided once, with its run, whoever asks and however often."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.engine.calls import Engine, blocked
from tests.engine.conftest import Another

BEGIN = datetime(2025, 11, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


TASK = {"task": "t", "queue": "slow", "priority": 7, "max_attempts": 4}


async def schedule(engine: Engine, key: str = "k", **options: Any) -> None:
    options = {"cron": "* * * * *", **options}
    named = "".join(f", {name} => '{value}'" for name, value in options.items())
    await engine.sql(f"SELECT add_schedule('{key}', 't'{named})")


async def advance(engine: Engine, *minutes: int, key: str = "k", **more: Any) -> dict[str, Any]:
    """What a leader that has just read the schedule says."""
    (row,) = await engine.sql("SELECT revision, cursor_at FROM schedules WHERE key = $1", key)
    ticks = [{"at": at(one), "run_at": at(one), "previous": at(one - 1)} for one in minutes]
    cursor = at(max(minutes)) if minutes else row["cursor_at"]
    told = {
        "key": key,
        "revision": row["revision"],
        "from": row["cursor_at"],
        "cursor": cursor,
        "next_at": at(max(minutes, default=0) + 1),
        "ticks": ticks,
    }
    return told | more


async def fire(engine: Engine, *advances: dict[str, Any]) -> list[tuple[str, Any]]:
    """Outcomes and runs, in order of key and time."""
    rows = await engine.call("fire_ticks", "default", json.dumps(advances, default=str))
    rows.sort(key=lambda row: (row["key"], str(row["at"])))
    return [(row["outcome"], row["run_id"]) for row in rows]


async def outcomes(engine: Engine, *minutes: int, key: str = "k", **more: Any) -> list[str]:
    return [outcome for outcome, _ in await fire(engine, await advance(engine, *minutes, key=key, **more))]


async def ticks(engine: Engine) -> list[Any]:
    return await engine.sql("SELECT * FROM schedule_ticks ORDER BY schedule, at")


async def stands(engine: Engine, key: str = "k") -> Any:
    (row,) = await engine.sql("SELECT * FROM schedules WHERE key = $1", key)
    return row


async def test_a_tick_is_a_row_and_a_run_that_knows_it(engine: Engine) -> None:
    await schedule(engine, meta='{"a": 1}', tags="{x}", queue_name="q", priority=3, max_attempts=2)
    ((outcome, run),) = await fire(engine, await advance(engine, 5))
    assert outcome == "fired"
    (tick,) = await ticks(engine)
    assert (tick["at"], tick["run_id"], tick["number"], tick["skipped"]) == (at(5), run, 1, None)
    (found,) = await engine.sql("SELECT * FROM runs")
    assert (found["id"], found["queue"], found["priority"], found["max_attempts"], found["tags"]) == (
        *(run, "q", 3, 2),
        ["x"],
    )
    meta = json.loads(found["meta"])
    assert meta["a"] == 1
    told = meta["openqueue.tick"]
    assert (told["schedule"], told["number"]) == ("k", 1)
    assert datetime.fromisoformat(told["at"]) == at(5)
    assert datetime.fromisoformat(told["previous"]) == at(4)
    row = await stands(engine)
    assert (row["cursor_at"], row["next_at"], row["fired"]) == (at(5), at(6), 1)


async def test_what_the_catalogue_says_of_the_task_holds(engine: Engine) -> None:
    options = {"deadline": 60.0, "tags": ["task"], "meta": {"of": "task"}}
    await engine.call("publish_tasks", "default", "p", json.dumps([{**TASK, "options": options}]))
    await schedule(engine, tags="{schedule}")
    await fire(engine, await advance(engine, 5))
    (run,) = await engine.sql("SELECT * FROM runs")
    assert (run["queue"], run["priority"], run["max_attempts"]) == ("slow", 7, 4)
    assert run["tags"] == ["task", "schedule"]
    assert json.loads(run["meta"])["of"] == "task"
    assert run["deadline"] - run["run_at"] == timedelta(seconds=60)


async def test_the_runs_of_a_schedule_have_its_concurrency_key_or_what_the_catalogue_says(
    engine: Engine,
) -> None:
    """Ticks of several schedules are one batch: each has its own."""
    said = {"account": "account 7", "none": "", "left out": None}
    options = {"concurrency_key": "of the task", "key_concurrency": 3, "on_failure": "step_aside"}
    await engine.call("publish_tasks", "default", "p", json.dumps([{**TASK, "options": options}]))
    for key, value in said.items():
        await schedule(engine, key, **({} if value is None else {"concurrency_key": value}))
    await fire(engine, *[await advance(engine, 5, key=key) for key in said])
    rows = await engine.sql(
        "SELECT meta -> 'openqueue.tick' ->> 'schedule' AS schedule, concurrency_key, key_limit, keeps_slot"
        " FROM run_requests"
    )
    assert {row["schedule"]: tuple(row.values())[1:] for row in rows} == {
        "account": ("account 7", 3, False),
        "none": (None, None, None),
        "left out": ("of the task", 3, False),
    }


async def test_of_one_tick_alone_and_of_a_backfill_the_key_is_the_same(engine: Engine) -> None:
    await schedule(engine, concurrency_key="account 7")
    await fire(engine, await advance(engine, 5))
    await engine.sql("SELECT run_schedule_now('k')")
    await engine.sql("SELECT backfill_schedule('k', '[{\"at\": \"2020-01-01 00:00:00+00\"}]')")
    assert [row["concurrency_key"] for row in await engine.sql("SELECT * FROM run_requests")] == [
        "account 7"
    ] * 3


async def test_the_same_advance_fires_once_however_many_leaders_send_it(
    engine: Engine, another: Another
) -> None:
    await schedule(engine, "a")
    await schedule(engine, "b")
    told = [await advance(engine, 1, 2, key=key) for key in ("a", "b")]
    leaders = [await another() for _ in range(10)]
    answers = await asyncio.gather(*(fire(one, *told) for one in leaders))
    fired = [run for answer in answers for outcome, run in answer if outcome == "fired"]
    assert len(fired) == len(set(fired)) == 4
    assert {outcome for answer in answers for outcome, _ in answer} <= {"fired", "stale"}
    assert len(await engine.sql("SELECT FROM runs")) == 4


async def test_who_stood_still_meanwhile_changes_nothing(engine: Engine) -> None:
    await schedule(engine)
    late = await advance(engine, 1)
    assert await outcomes(engine, 1, 2) == ["fired", "fired"]
    assert await fire(engine, late) == [("stale", None)]
    assert (await stands(engine))["cursor_at"] == at(2)


async def test_a_schedule_that_was_edited_is_not_moved_by_its_former_self(engine: Engine) -> None:
    await schedule(engine)
    late = await advance(engine, 1)
    await engine.sql("""SELECT update_schedule('k', '{"cron": "@daily"}')""")
    assert await fire(engine, late) == [("stale", None)]
    assert await engine.sql("SELECT FROM runs") == []
    gone = await advance(engine, 1)
    await engine.sql("SELECT remove_schedule('k')")
    assert await fire(engine, gone) == [("stale", None)]


async def test_one_that_somebody_edits_just_now_holds_up_no_other(engine: Engine, another: Another) -> None:
    await schedule(engine, "a")
    await schedule(engine, "b")
    told = [await advance(engine, 1, key=key) for key in ("a", "b")]
    editor = await another()
    async with editor.db.transaction():
        await editor.sql("SELECT pause_schedule('a')")
        async with asyncio.timeout(60):
            assert [outcome for outcome, _ in await fire(engine, *told)] == ["stale", "fired"]


async def test_a_tick_and_its_run_are_one(engine: Engine) -> None:
    """T8: what is rolled back leaves neither, and the schedule stands where it stood."""
    await schedule(engine)
    told = await advance(engine, 1)
    await engine.sql("BEGIN")
    assert [outcome for outcome, _ in await fire(engine, told)] == ["fired"]
    await engine.sql("ROLLBACK")
    assert await ticks(engine) == []
    assert await engine.sql("SELECT FROM runs") == []
    assert [outcome for outcome, _ in await fire(engine, told)] == ["fired"]


async def test_a_tick_that_was_backfilled_before_is_not_fired_again(engine: Engine) -> None:
    await schedule(engine)
    row = await stands(engine)
    backfill = await advance(engine, cursor=None, next_at=row["next_at"])
    backfill["ticks"] = [{"at": at(1), "run_at": at(1), "backfill": True}]
    assert [outcome for outcome, _ in await fire(engine, backfill)] == ["fired"]
    assert [outcome for outcome, _ in await fire(engine, backfill)] == ["repeated"]
    row = await stands(engine)
    assert (row["cursor_at"], row["fired"]) == (None, 0), "it has moved nothing"
    assert await outcomes(engine, 1, 2) == ["repeated", "fired"]
    assert [(tick["backfill"], tick["number"]) for tick in await ticks(engine)] == [(True, None), (False, 1)]


async def test_what_was_missed_is_one_row_that_says_how_much(engine: Engine) -> None:
    await schedule(engine)
    skipped = [{"reason": "missed", "count": 500, "first": at(1), "last": at(500)}]
    assert await outcomes(engine, 501, skipped=skipped) == ["fired"]
    missed, fired = await ticks(engine)
    assert (missed["skipped"], missed["missed"], missed["missed_from"], missed["at"]) == (
        *("missed", 500),
        *(at(1), at(500)),
    )
    assert fired["run_id"] is not None


async def test_ticks_that_cannot_be_enqueued_are_history_and_the_next_goes_on(engine: Engine) -> None:
    await schedule(engine)
    assert await outcomes(engine, 1, error="the disk is full") == ["failed"]
    row = await stands(engine)
    assert (row["cursor_at"], row["next_at"], row["last_error"]) == (at(1), at(2), "the disk is full")
    assert row["failed_at"] is not None
    (tick,) = await ticks(engine)
    assert (tick["skipped"], tick["error"], tick["run_id"]) == ("failed", "the disk is full", None)
    assert await outcomes(engine, 2) == ["fired"]
    row = await stands(engine)
    assert (row["last_error"], row["failed_at"], row["fired"]) == (None, None, 1)


async def test_jitter_delays_the_run_and_not_the_tick(engine: Engine) -> None:
    await schedule(engine)
    told = await advance(engine, 1)
    now = (await engine.sql("SELECT now()"))[0][0]
    told["ticks"][0]["run_at"] = now + timedelta(hours=1)
    await fire(engine, told)
    (run,) = await engine.sql("SELECT status, run_at FROM runs")
    assert (run["status"], run["run_at"]) == ("scheduled", now + timedelta(hours=1))


async def settle(engine: Engine, run: UUID | None, state: str) -> None:
    """Bring the run of the first tick into a state."""
    assert run is not None
    if state == "cancelled":
        await engine.value("cancel_run", run, None)
    elif state != "waiting":
        await engine.claim()
        if state != "running":
            await engine.finish([run], ["retry" if state == "retrying" else state], delays=[3600.0])


@pytest.mark.parametrize(
    ("state", "skip", "queue"),
    [
        ("waiting", "overlap", "waiting"),
        ("running", "overlap", "waiting"),
        ("retrying", "overlap", "waiting"),
        ("failed", "fired", "fired"),
        ("cancelled", "fired", "fired"),
        ("completed", "fired", "fired"),
    ],
)
async def test_overlap_is_decided_by_what_is_unfinished(
    engine: Engine, state: str, skip: str, queue: str
) -> None:
    """T5: a slow run blocks, a failed or cancelled one never does."""
    for overlap in ("allow", "skip", "queue", "cancel_previous"):
        await schedule(engine, overlap, overlap=overlap)
        ((_, run),) = await fire(engine, await advance(engine, 1, key=overlap))
        await settle(engine, run, state)
    expected = {"allow": "fired", "skip": skip, "queue": queue, "cancel_previous": "fired"}
    for overlap, outcome in expected.items():
        assert await outcomes(engine, 2, key=overlap) == [outcome]


async def test_one_waits_and_the_rest_are_skipped(engine: Engine) -> None:
    await schedule(engine, overlap="queue")
    ((_, run),) = await fire(engine, await advance(engine, 1))
    assert await outcomes(engine, 2, 3) == ["waiting", "overlap"]
    assert await outcomes(engine, 4) == ["overlap"]
    assert await engine.call("release_ticks", "default") == []
    await settle(engine, run, "completed")
    ((key, when, waited),) = await engine.call("release_ticks", "default")
    assert (key, when) == ("k", at(2))
    assert await engine.call("release_ticks", "default") == []
    found = [(tick["at"], tick["skipped"], tick["run_id"]) for tick in await ticks(engine)]
    assert found == [
        (at(1), None, run),
        (at(2), None, waited),
        (at(3), "overlap", None),
        (at(4), "overlap", None),
    ]
    assert await outcomes(engine, 5) == ["waiting"], "it is unfinished itself now"


async def test_who_waits_for_a_run_is_told_of_its_end(engine: Engine, db: asyncpg.Connection) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    await schedule(engine, overlap="queue")
    ((_, run),) = await fire(engine, await advance(engine, 1))
    await outcomes(engine, 2)
    await db.add_listener("openqueue", lambda *heard: told.put_nowait(str(heard[-1])))
    await settle(engine, run, "completed")
    async with asyncio.timeout(60):
        while json.loads(await told.get()).get("done") != [str(run)]:
            pass


async def test_the_previous_run_is_cancelled(engine: Engine) -> None:
    await schedule(engine, overlap="cancel_previous")
    ((_, first),) = await fire(engine, await advance(engine, 1))
    (_, (_, third)) = await fire(engine, await advance(engine, 2, 3))
    assert await engine.status(first) == "cancelled"
    assert await engine.status(third) == "queued"
    assert [tick["skipped"] for tick in await ticks(engine)] == [None, "overlap", None]


async def test_many_runs_from_when_overlap_was_allowed_are_all_cancelled(engine: Engine) -> None:
    await schedule(engine)
    await outcomes(engine, *range(1, 31))
    await engine.sql("""SELECT update_schedule('k', '{"overlap": "cancel_previous"}')""")
    await outcomes(engine, 31)
    rows = await engine.sql("SELECT status, count(*) FROM runs GROUP BY 1")
    assert {row["status"]: row["count"] for row in rows} == {"cancelled": 30, "queued": 1}


async def test_a_run_that_somebody_holds_delays_its_schedule_only(engine: Engine, another: Another) -> None:
    for key in ("a", "b"):
        await schedule(engine, key, overlap="cancel_previous")
    ((_, first),) = await fire(engine, await advance(engine, 1, key="a"))
    holder = await another()
    told = [await advance(engine, 2, key=key) for key in ("a", "b")]
    async with holder.db.transaction():
        await holder.sql("SELECT FROM jobs WHERE id = $1 FOR UPDATE", first)
        async with asyncio.timeout(60):
            assert [outcome for outcome, _ in await fire(engine, *told)] == ["stale", "fired"]
    assert await outcomes(engine, 2, key="a") == ["fired"]
    assert await engine.status(first) == "cancelled"


async def test_fired_by_hand_it_sees_overlap_and_moves_nothing(engine: Engine) -> None:
    await schedule(engine, overlap="skip", max_runs=1)
    before = await stands(engine)
    (fired,) = await engine.sql("SELECT * FROM run_schedule_now('k')")
    assert fired["outcome"] == "fired"
    (skipped,) = await engine.sql("SELECT * FROM run_schedule_now('k')")
    assert (skipped["outcome"], skipped["run_id"]) == ("overlap", None)
    assert await outcomes(engine, 1) == ["overlap"], "a tick sees what was fired by hand, too"
    after = await stands(engine)
    assert (after["fired"], after["revision"]) == (0, before["revision"])
    flags = [(tick["manual"], tick["skipped"]) for tick in await ticks(engine)]
    assert sorted(flags, key=str) == sorted([(True, None), (True, "overlap"), (False, "overlap")], key=str)


async def test_fired_by_hand_it_belongs_to_the_callers_transaction(engine: Engine, another: Another) -> None:
    await schedule(engine)
    caller = await another()
    transaction = caller.db.transaction()
    await transaction.start()
    await caller.sql("SELECT * FROM run_schedule_now('k')")
    pid = await engine.db.fetchval("SELECT pg_backend_pid()")
    waiting = asyncio.create_task(engine.sql("SELECT * FROM run_schedule_now('k')"))
    async with asyncio.timeout(60):
        await blocked(caller.db, pid)
    await transaction.rollback()
    await waiting
    assert len(await ticks(engine)) == len(await engine.sql("SELECT FROM runs")) == 1


async def test_old_history_of_ticks_is_pruned_in_pieces(engine: Engine) -> None:
    await schedule(engine)
    await outcomes(engine, 1, 2, 3)
    await engine.sql("UPDATE schedule_ticks SET fired_at = now() - interval '1 year'")
    await engine.run_once()
    await engine.sql("DELETE FROM runs")
    prune = "SELECT prune_ticks(now() - interval '90 days', 1)"
    assert [(await engine.sql(prune))[0][0] for _ in range(3)] == [1, 1, 0]
    assert [tick["at"] for tick in await ticks(engine)] == [at(3)]


async def test_a_batch_is_looked_up_one_by_one_whatever_the_statistics_say(engine: Engine) -> None:
    """Nothing is read per pair of schedules: twice as many cost twice as much, not four times."""
    await engine.sql("SELECT add_schedule('k' || i, 't', cron => '* * * * *') FROM generate_series(1, 800) i")
    read = []
    for count in (100, 400):
        told = [await advance(engine, count, key=f"k{number}") for number in range(1, count + 1)]
        await engine.sql("SELECT pg_stat_force_next_flush()")
        before = await _tuples_read(engine)
        await fire(engine, *told)
        await engine.sql("SELECT pg_stat_force_next_flush()")
        read.append(await _tuples_read(engine) - before)
    assert read[1] < 8 * read[0], read


async def _tuples_read(engine: Engine) -> int:
    (row,) = await engine.sql(
        "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables"
        " WHERE schemaname = 'openqueue' AND relname = 'schedules'"
    )
    return int(row[0])
