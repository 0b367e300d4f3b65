"""The real daemon as a login that has only `openqueue_worker`, of a schema whose owner is no superuser."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import openqueue
from openqueue import Client
from tests.support import crash_tasks as tasks
from tests.support.databases import Databases
from tests.support.eventually import eventually
from tests.support.realm import Realm, made_realm
from tests.support.worker_process import WorkerProcess

TICKS = "every => interval '1 second'"


@pytest.fixture(scope="module")
def realm(databases: Databases) -> Iterator[Realm]:
    with made_realm(databases) as made:
        yield made


@asynccontextmanager
async def client_of(realm: Realm) -> AsyncIterator[Client]:
    async with openqueue.connect(realm.worker, **realm.settings) as client:
        yield client


def worker_of(realm: Realm, url: str | None = None, **settings: Any) -> WorkerProcess:
    return WorkerProcess(url or realm.worker, **realm.of_process, **settings)


async def test_it_runs_retries_logs_cancels_and_leaves(realm: Realm) -> None:
    async with client_of(realm) as client, worker_of(realm, grace="100ms") as worker:
        await worker.started()
        assert await (await tasks.fail_once.enqueue()).result(timeout="120s") == 2
        counted = await tasks.count.enqueue(0.2)
        assert await counted.result(timeout="120s") > 0
        assert {"log", "progress", "completed"} <= {one.event for one in await counted.events()}
        held = await tasks.sleep.enqueue(600.0)
        await worker.wait_for("mark", what="begin", run=str(held.id))
        assert await held.cancel() == "cancelling"
        await worker.wait_for("mark", what="cancelled", run=str(held.id))
        with pytest.raises(openqueue.RunCancelled):
            await held.result(timeout="120s")
        put_back = await tasks.sleep.enqueue(600.0)
        await worker.wait_for("mark", what="begin", run=str(put_back.id))
        assert await worker.stop() == 0
        assert (await client.get(put_back.id)).status == "queued"
        assert await put_back.cancel() == "cancelled"
    assert [one for one in worker.told if one["event"].endswith("Failed")] == []


async def test_what_a_killed_leader_ran_is_rescued_and_schedules_go_on(realm: Realm, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    admin = await asyncpg.connect(realm.admin)
    add = f"SELECT {realm.table('add_schedule')}('tick', 'crash.quick', '{{\"number\": 1}}', {TICKS})"
    fired = f"SELECT count(*) FROM {realm.table('schedule_ticks')} WHERE schedule = 'tick'"
    try:
        async with client_of(realm) as client, worker_of(realm, name="first") as first:
            await first.wait_for("LeaderElected")
            await admin.execute(add)
            await eventually(lambda: admin.fetchval(f"{fired}"), what="a tick")
            run = await tasks.until.enqueue(str(gate))
            await first.wait_for("mark", what="begin", run=str(run.id))
            async with worker_of(realm, realm.other, name="second") as second:
                await second.started()
                first.signal(signal.SIGKILL)
                await second.wait_for("LeaderElected")
                before = await admin.fetchval(fired)
                await eventually(lambda: admin.fetchval(f"{fired} HAVING count(*) > {before}"), what="more")
                gate.touch()
                assert await run.result(timeout="120s") == "done"
                assert [one.outcome for one in await client.attempts(run.id)] == ["lost", "completed"]
                assert await admin.fetchval(f"SELECT {realm.table('remove_schedule')}('tick')")
                assert await second.stop() == 0
        assert [one for one in second.told if one["event"].endswith("Failed")] == []
    finally:
        await admin.close(timeout=60)


async def test_it_makes_the_partitions_that_are_missing_and_may_read_no_partition_itself(
    realm: Realm,
) -> None:
    owner = await asyncpg.connect(realm.owner)
    worker = await asyncpg.connect(realm.worker)
    try:
        parts = await owner.fetch(
            """SELECT c.oid::regclass::text AS name, c.relname FROM pg_class c
            WHERE c.relnamespace = quote_ident($1)::regnamespace AND c.relispartition AND c.relkind = 'r'
            ORDER BY 1""",
            realm.schema,
        )
        (last,) = [one for one in parts if one["relname"].startswith("run_log_")][-1:]
        await owner.execute(f"DROP TABLE {last['name']}")
        async with worker_of(realm) as process:
            made = await process.wait_for("PartitionsMade")
            assert made["names"] == [last["relname"]]
            assert await process.stop() == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.fetch(f"SELECT FROM {last['name']}")
    finally:
        await owner.close(timeout=60)
        await worker.close(timeout=60)


@pytest.mark.parametrize("who", ["worker", "other"])
async def test_a_leader_whose_lease_ran_out_is_ended_by_whoever_may(realm: Realm, who: str) -> None:
    """By a worker of the same login itself; otherwise by the owner, who may if he was given the right."""
    namespace = f"leader {who}"
    lead = f"SELECT leads, ended FROM {realm.table('lead')}($1, gen_random_uuid(), $2::text::interval)"
    frozen = await asyncpg.connect(realm.worker)
    finder = await asyncpg.connect(getattr(realm, who))
    superuser = await asyncpg.connect(realm.superuser)
    try:
        if who == "other":
            await superuser.execute(
                "DO $$ BEGIN EXECUTE format('GRANT pg_signal_backend TO %I', (SELECT pg_get_userbyid(datdba)"
                " FROM pg_database WHERE datname = current_database())); END $$"
            )
        pid = frozen.get_server_pid()
        assert await frozen.fetchval(lead, namespace, "1 millisecond") is True
        answer = await finder.fetch(lead, namespace, "1 hour")
        assert [tuple(row) for row in answer] == [(True, pid)]
        await eventually(frozen.is_closed, what="ended")
    finally:
        for one in (frozen, finder, superuser):
            await one.close(timeout=60)


async def test_a_leader_that_nobody_may_end_leads_no_longer(realm: Realm) -> None:
    lead = f"SELECT leads, ended FROM {realm.table('lead')}('stuck', gen_random_uuid(), $1::text::interval)"
    frozen = await asyncpg.connect(realm.superuser)
    finder = await asyncpg.connect(realm.worker)
    try:
        assert await frozen.fetchval(lead, "1 millisecond") is True
        answer = await finder.fetch(lead, "1 hour")
        assert [tuple(row) for row in answer] == [(True, None)]
        assert await frozen.fetchval(lead, "1 hour") is False
    finally:
        await frozen.close(timeout=60)
        await finder.close(timeout=60)
