"""A worker that dies, freezes or is cut off: its jobs run elsewhere, and what it says too late is refused."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

import openqueue
from openqueue import Client
from tests.support import crash_tasks as tasks
from tests.support.eventually import eventually
from tests.support.worker_process import WorkerProcess, workers


async def test_K1_the_jobs_of_a_killed_worker_run_in_another_within_five_seconds(
    dsn: str, client: Client
) -> None:
    """Its lease is an hour: who waited for that would wait for ever."""
    async with AsyncExitStack() as stack, WorkerProcess(dsn, name="victim", lease="1h") as victim:
        await victim.started()
        run = await tasks.until.enqueue("/nowhere")
        await victim.wait_for("mark", what="begin")
        heir = await stack.enter_async_context(WorkerProcess(dsn, name="heir", lease="1h"))
        await heir.started()
        killed = time.monotonic()
        victim.signal(signal.SIGKILL)
        await heir.wait_for("mark", what="begin", run=str(run.id))
        print(f"\nK1: rescued after {time.monotonic() - killed:.1f} s")
        assert [one.outcome for one in await client.attempts(run.id)] == ["lost"]
        assert (await run.info()).attempt == 1
        await client.cancel(run.id)
        await heir.wait_for("RunFinished", outcome="cancelled")


async def test_K3_what_a_thawed_worker_says_too_late_is_refused_and_it_works_on(
    dsn: str, db: asyncpg.Connection, client: Client, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"heartbeat": "500ms", "lease": "5s"}
    gate = tmp_path / "open"
    async with AsyncExitStack() as stack, WorkerProcess(dsn, name="frozen", **settings) as frozen:
        await frozen.started()
        finishing, counting = await tasks.until.enqueue(str(gate)), await tasks.count.enqueue(60)
        await frozen.wait_for("mark", what="begin", count=2)
        heir = await stack.enter_async_context(WorkerProcess(dsn, name="heir", **settings))
        await heir.started()
        frozen.signal(signal.SIGSTOP)
        await heir.wait_for("mark", what="begin", count=2)
        gate.touch()
        await heir.wait_for("mark", what="end", run=str(finishing.id))
        lines = "SELECT count(*) FROM openqueue.run_log WHERE run_id = $1 AND attempt = 1"
        before = await db.fetchval(lines, counting.id)
        frozen.signal(signal.SIGCONT)
        await frozen.wait_for("LeaseWasLost", run_id=str(counting.id))
        await frozen.wait_for("WorkerGivenUp")
        await frozen.wait_for("LeaseWasLost", run_id=str(finishing.id))
        assert await finishing.result("60s") == "done"
        assert [one.outcome for one in await client.attempts(finishing.id)] == ["lost", "completed"]
        assert not frozen.heard("mark", what="end", run=str(counting.id))
        # It works on: the heir goes, and the thawed one takes the rest.
        await client.cancel(counting.id)
        await heir.wait_for("RunFinished", run_id=str(counting.id), outcome="cancelled")
        assert await db.fetchval(lines, counting.id) == before
        assert await heir.stop() == 0
        assert await (await tasks.quick.enqueue(7)).result("60s") == 7
        assert await frozen.stop() == 0
    assert await db.fetchval("SELECT count(*) FROM openqueue.claims") == 0
    assert await db.fetchval("SELECT count(*) FROM openqueue.workers") == 0


async def test_K3_jobs_claimed_between_the_thaw_and_the_new_registration_are_not_lost(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    async with WorkerProcess(dsn, heartbeat="1s", lease="60s") as worker:
        await worker.started()
        await db.execute("DELETE FROM openqueue.workers")
        runs = [await tasks.sleep.enqueue(3) for _ in range(3)]
        await worker.wait_for("mark", what="begin", count=3)
        await worker.wait_for("WorkerGivenUp")
        for run in runs:
            assert await run.result("60s") == "slept 3"
            assert [one.outcome for one in await client.attempts(run.id)] == ["completed"]
        assert await worker.stop() == 0
    assert await db.fetchval("SELECT count(*) FROM openqueue.claims") == 0


async def test_a_worker_that_has_appeared_again_is_known_to_have_its_tasks(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    async with WorkerProcess(dsn, heartbeat="300ms") as worker:
        await worker.started()
        await db.execute("DELETE FROM openqueue.workers")
        await worker.wait_for("WorkerGivenUp")
        run = await tasks.quick.options(delay="1h").enqueue(1)
        assert await client.missing_for(await run.info()) is None
        assert await worker.stop() == 0


async def test_K4_a_task_that_blocks_the_event_loop_for_three_leases_runs_once(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    settings: dict[str, Any] = {"heartbeat": "300ms", "lease": "3s"}
    async with workers(2, dsn, **settings) as both:
        run = await tasks.block.enqueue(10)
        await eventually(
            lambda: db.fetchval("SELECT true FROM openqueue.workers WHERE state = 'stuck'"),
            what="stuck",
        )
        assert await run.result("60s") == "unblocked"
        assert len([one for worker in both for one in worker.heard("mark", what="begin")]) == 1
        assert [one.outcome for one in await client.attempts(run.id)] == ["completed"]
        await eventually(
            lambda: db.fetchval("SELECT bool_and(state = 'running') FROM openqueue.workers"),
            what="well again",
        )


async def test_K5_a_job_that_kills_its_worker_ends_with_the_third(dsn: str, client: Client) -> None:
    async with workers(4, dsn) as all_of_them:
        run = await tasks.kill.enqueue()
        beside = await tasks.quick.enqueue(1)
        await eventually(lambda: _finished(run))
        info = await run.info()
        assert info.status == "failed"
        assert info.error is not None
        assert info.error["type"] == "WorkerLost"
        assert [one.outcome for one in await client.attempts(run.id)] == ["lost", "lost", "failed"]
        assert sum(worker.alive for worker in all_of_them) == 1
        assert await beside.result("60s") == 1


async def test_a_worker_whose_beating_session_was_ended_holds_its_lock_again_at_once(
    dsn: str, db: asyncpg.Connection
) -> None:
    """Not when the next beat is due: others take the jobs of one whose lock is free for 3 s."""
    beating = (
        "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory'"
        " AND a.datname = current_database() AND a.application_name = 'openqueue heartbeat'"
        " AND a.state = 'idle'"
    )
    async with WorkerProcess(dsn, heartbeat="20m", lease="1h") as worker:
        await worker.started()
        before = await eventually(lambda: db.fetchval(beating), what="it holds its lock")
        for _ in range(3):
            assert await db.fetchval("SELECT pg_terminate_backend($1)", before)
            before = await eventually(partial(_other, db, beating, before), what="it holds it again")
        assert await worker.stop() == 0


async def test_a_worker_beats_on_while_the_server_keeps_its_lock_for_an_earlier_session(
    dsn: str, db: asyncpg.Connection
) -> None:
    """As when its network went away without a word: the server does not know that the session is over."""
    beats = "SELECT beat_at FROM openqueue.workers WHERE beat_at > $1"
    async with WorkerProcess(dsn, heartbeat="2s", lease="20m") as worker:
        await worker.started()
        key = await eventually(
            lambda: db.fetchval("SELECT openqueue.liveness_key(id) FROM openqueue.workers"),
            what="it is there",
        )
        free = "SELECT pg_try_advisory_lock($1) AND pg_advisory_unlock($1)"
        await eventually(lambda: _not(db, free, key), every=0.1, what="it holds its lock")
        waiting = asyncio.create_task(db.execute("SELECT pg_advisory_lock($1)", key))
        other = await asyncpg.connect(dsn)
        held = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'advisory' AND pid = $1)"
        await eventually(lambda: _not(other, held, db.get_server_pid()), what="we wait for the lock")
        await other.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'openqueue heartbeat'"
        )
        await waiting
        for _ in range(3):
            last = await db.fetchval("SELECT clock_timestamp()")
            await eventually(partial(db.fetchval, beats, last), what="it beats")
        await db.execute("SELECT pg_advisory_unlock($1)", key)
        await eventually(lambda: _not(db, free, key), every=0.1, what="it has its lock again")
        assert not worker.heard("WorkerGivenUp")
        assert await worker.stop() == 0
        await other.close()


async def test_a_worker_whose_lock_nobody_can_see_lives_by_a_lease_and_is_not_suspected_again_and_again(
    dsn: str, db: asyncpg.Connection
) -> None:
    """Behind a pooler alone: others would find its lock free with every look."""
    async with WorkerProcess(dsn, pooler="transaction") as worker:
        await worker.wait_for("WorkerStarted")
        leased = "SELECT suspected_at > beat_at FROM openqueue.workers WHERE beat_at > $1"
        last = await db.fetchval("SELECT clock_timestamp()")
        assert await eventually(lambda: db.fetchval(leased, last), what="it lives by a lease")
        assert await worker.stop() == 0


async def _not(db: asyncpg.Connection, sql: str, argument: object) -> bool:
    return not await db.fetchval(sql, argument)


async def _other(db: asyncpg.Connection, sql: str, last: int) -> int | None:
    found = await db.fetchval(sql)
    return found if found != last else None


async def _finished(run: openqueue.Run[Any]) -> bool:
    return (await run.info()).finished


async def test_K9_a_worker_whose_sessions_are_all_ended_again_and_again_loses_no_job(
    dsn: str, db: asyncpg.Connection, client: Client
) -> None:
    async with WorkerProcess(dsn) as worker:
        await worker.started()
        runs = [await tasks.quick.enqueue(number) for number in range(200)]
        for _ in range(5):
            ended = await db.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database() AND application_name <> 'openqueue client'"
                " AND application_name <> 'openqueue client listener'"
            )
            assert ended
            runs += [await tasks.quick.enqueue(number) for number in range(50)]
            await asyncio.gather(*(run.result("60s") for run in runs))
        for run in runs:
            outcomes = [one.outcome for one in await client.attempts(run.id)]
            assert outcomes[-1] == "completed"
            assert "failed" not in outcomes
            assert (await run.info()).attempt == 1
        assert await worker.stop() == 0
