"""What who has only one of the roles may do and may not, by Python and by SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

import openqueue
from openqueue import Client, ConnectionFailed, Context, RunNotFound, UnknownTask, task
from openqueue.cluster.pruner import Pruner
from openqueue.cluster.retention import Retention, Rule
from openqueue.db.migrations import migrate
from openqueue.db.quoting import quote_ident
from openqueue.db.target import Target
from tests.support import crash_tasks as tasks
from tests.support.databases import Databases
from tests.support.history import add_month, month_ago
from tests.support.realm import Realm, made_realm
from tests.support.worker_here import working

HISTORY = ("run_requests", "attempts", "run_log")
RELATIONS = """SELECT c.relname, c.relkind::text, has_table_privilege($2, c.oid, 'SELECT') AS sees,
    has_table_privilege($2, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') AS writes,
    has_table_privilege($2, c.oid, 'UPDATE, DELETE, TRUNCATE') AS changes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v')"""
FUNCTIONS = """SELECT p.proname::text AS name, has_function_privilege($2, p.oid, 'EXECUTE') AS may
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1"""
MAY_ENQUEUE = {
    *("add_job", "add_jobs", "add_batch", "add_one", "add_same", "new_id", "id_time", "id_floor"),
    *("find_run", "find_events", "await_run", "await_runs", "task_names", "task_inputs", "change_query"),
}


@pytest.fixture(scope="module")
def realm(databases: Databases) -> Iterator[Realm]:
    with made_realm(databases) as made:
        yield made


@asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=60)


@pytest.fixture
async def client(realm: Realm) -> AsyncIterator[Client]:
    async with openqueue.connect(realm.enqueue, **realm.settings) as opened:
        yield opened


async def test_who_may_enqueue_does_so_by_all_means_and_gets_what_became_of_it(
    client: Client, realm: Realm
) -> None:
    async with working(realm.worker, tasks.fail_once, tasks.sleep, **realm.settings):
        runs: list[Any] = [
            await tasks.fail_once.enqueue(),
            await client.enqueue("crash.fail_once"),
            await client.enqueue(
                tasks.fail_once.options(delay=0.01, priority=3, tags=["a"], meta={"b": 1}).item()
            ),
            await client.enqueue(tasks.fail_once.options(idempotency="once").item()),
            *await client.enqueue_many([tasks.fail_once.item() for _ in range(3)]),
        ]
        async with session(realm.enqueue) as connection:
            runs.append(await tasks.fail_once.options(connection=connection).enqueue())
        assert [await run.result(timeout="120s") for run in runs] == [2] * len(runs)
        again = await client.enqueue(tasks.fail_once.options(idempotency="once").item())
        assert again.id == runs[3].id
        assert await runs[0].status() == "completed"
        assert (await client.get(runs[2].id)).tags == ("a",)
        assert {"enqueued", "retried", "completed"} <= {one.event for one in await runs[0].events()}
        with pytest.raises(UnknownTask, match=r"crash\.sleep"):
            await client.enqueue("crash.slep")
        with pytest.raises(openqueue.InvalidArguments):
            await client.enqueue("crash.sleep", {"seconds": "many"})


async def test_keys_are_replaced_and_skipped_and_merged_without_a_look_at_the_table(client: Client) -> None:
    later = tasks.sleep.options(delay="1h", key="k")
    first = await client.enqueue(later.item(1.0))
    assert [(await client.enqueue(later.item(2.0))).outcome, first.outcome] == ["replaced", "added"]
    skipped = await client.enqueue(tasks.sleep.options(delay="1h", key="k", key_mode="skip").item(3.0))
    assert skipped.outcome == "existing"


async def test_who_may_enqueue_by_sql_sees_states_of_runs_by_their_ids_and_no_list(realm: Realm) -> None:
    async with session(realm.enqueue) as connection:
        one = await connection.fetchval(f"SELECT {realm.table('add_job')}('any', '{{}}', tags => '{{x}}')")
        many = await connection.fetch(
            f"""SELECT id FROM {realm.table("add_jobs")}(ARRAY['{{"task": "any", "job_key": "k"}}'::jsonb])"""
        )
        found = f"SELECT status FROM {realm.table('find_run')}($1)"
        assert [await connection.fetchval(found, row) for row in (one, many[0]["id"])] == ["queued"] * 2
        for name in ("runs", "jobs", "run_requests", "catalog", "workers", "queue_stats", "schedules"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT FROM {realm.table(name)}")


async def test_who_may_enqueue_writes_to_a_table_that_enqueues(realm: Realm) -> None:
    async with session(realm.owner) as owner, session(realm.enqueue) as writer:
        await owner.execute("CREATE TABLE public.orders (id int)")
        await owner.execute("GRANT USAGE ON SCHEMA public TO PUBLIC; GRANT INSERT ON public.orders TO PUBLIC")
        await owner.fetchval(f"SELECT {realm.table('add_trigger')}('public.orders', 'orders.ship')")
        await writer.execute("INSERT INTO public.orders VALUES (1), (2)")
        counted = f"SELECT count(*) FROM {realm.table('run_requests')} WHERE task = 'orders.ship'"
        assert await owner.fetchval(counted) == 2


async def test_who_may_enqueue_may_do_nothing_else(realm: Realm, client: Client) -> None:
    run = await client.enqueue("nobody.knows", allow_unknown=True)
    for refused in (
        run.cancel,
        run.retry,
        lambda: client.promote(run.id),
        lambda: client.attempts(run.id),
        client.list_runs,
        lambda: client.controls.limit(queue="default", concurrency=1),
        client.controls.list,
        client.schedules.list,
        lambda: client.database.fetchval("leave_worker", run.id),
    ):
        with pytest.raises(ConnectionFailed, match="A right is missing"):
            await refused()
    async with session(realm.enqueue) as connection:
        functions = await connection.fetch(FUNCTIONS, realm.schema, realm.role("enqueue"))
        assert {row["name"] for row in functions if row["may"]} == MAY_ENQUEUE
        relations = await connection.fetch(RELATIONS, realm.schema, realm.role("enqueue"))
        assert {row["relname"] for row in relations if row["sees"]} == {"migrations", "engine"}
        assert not any(row["writes"] for row in relations)
        assert await connection.fetchval("SELECT has_schema_privilege($1, 'CREATE')", realm.schema) is False


async def test_a_worker_changes_no_history_and_decides_nothing_that_people_decide(realm: Realm) -> None:
    async with session(realm.worker) as connection:
        relations = await connection.fetch(RELATIONS, realm.schema, realm.role("worker"))
        changed = {row["relname"] for row in relations if row["changes"]}
        assert changed.isdisjoint({*HISTORY, "controls", "migrations", "engine", "runs"})
        assert {"audit", "controls"}.isdisjoint(row["relname"] for row in relations if row["writes"])
        assert "jobs" in changed
        functions = await connection.fetch(FUNCTIONS, realm.schema, realm.role("worker"))
        denied = {row["name"] for row in functions if not row["may"]}
        assert {
            "act_on_runs",
            "set_control",
            "pause_queue",
            "retry_run",
            "edit_run",
            "add_schedule",
            "add_trigger",
            "grant_rights",
        } <= denied
        assert {"claim_jobs", "finish_jobs", "rescue", "cancel_run", "add_job"}.isdisjoint(denied)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"DELETE FROM {realm.table('attempts')}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"INSERT INTO {realm.table('audit')} (action, actor) VALUES ('', 'me')")
        with pytest.raises(asyncpg.InvalidParameterValueError, match="source"):
            await connection.execute(
                f"SELECT {realm.table('publish_controls')}('default', 'run time', '[]', '{{}}')"
            )


async def test_a_worker_that_leads_prunes_run_by_run_and_says_that_months_are_the_owners(
    realm: Realm,
) -> None:
    async with session(realm.owner) as owner:
        await add_month(owner, month_ago(7), quote_ident(realm.schema))
    async with openqueue.connect(realm.worker, **realm.settings) as client:
        run = await client.enqueue("of.worker", allow_unknown=True)
        assert await run.cancel() == "cancelled"
        retention = Retention((Rule(older_than=timedelta(microseconds=1)),))
        pruner = Pruner(
            client.database, Target.of(realm.worker), "default", lambda _: None, retention=retention
        )
        report = await pruner.once()
        assert report.runs["cancelled"] >= 1
        assert [one.waits for one in report.months if one.waits and "only the owner" not in one.waits] == []
        assert f"{month_ago(7):%Y-%m}" in {one.month for one in report.months if one.waits}
        with pytest.raises(RunNotFound):
            await client.get(run.id)


@task(name="roles.chatter")
async def chatter(*, ctx: Context = Context.injected) -> None:
    for number in range(1_200):
        ctx.log.info("a line", number=number)
        ctx.progress({"done": number})


async def test_a_worker_says_of_a_full_log_how_much_was_dropped_although_it_changes_no_history(
    realm: Realm,
) -> None:
    async with working(realm.worker, chatter, **realm.settings) as here:
        run = await here.worker.client.enqueue(chatter.item())
        await run.result("120s")
        last = [event.data for event in await run.events() if event.event == "log"][-1]
        assert last["fields"] == {"dropped": 200}
        assert (await run.info()).progress == {"done": 1_199}


async def test_a_worker_in_sql_may_say_as_much_as_one_in_python(realm: Realm) -> None:
    async with session(realm.worker) as connection:
        await connection.execute(f"SET search_path = {quote_ident(realm.schema)}")
        worker = await connection.fetchval("SELECT start_worker(lease => '50 seconds')")
        run = await connection.fetchval("SELECT add_job('roles.sql')")
        held = await connection.fetchrow("SELECT id, claim FROM get_job($1, '{roles.sql}')", worker)
        assert held is not None
        for call in ("log_run($1, $2, $3, 'line')", """progress_run($1, $2, $3, '{"done": 1}')"""):
            said = f"SELECT count(*) FILTER (WHERE {call}) FROM generate_series(1, 1200)"
            assert await connection.fetchval(said, worker, *held) == 1_200
        counted = "SELECT kind, count(*) FROM run_log WHERE run_id = $1 GROUP BY 1 ORDER BY 1"
        assert [tuple(row) for row in await connection.fetch(counted, run)] == [
            ("log", 1_001),
            ("progress", 1_000),
        ]
        await connection.execute("SELECT complete_job($1, $2, $3)", worker, *held)


async def test_what_people_did_is_added_to_and_never_changed(realm: Realm) -> None:
    async with openqueue.connect(realm.admin, **realm.settings) as client:
        run = await client.enqueue("of.admin", allow_unknown=True)
        await client.acting.act("cancel", [run.id], reason="a test")
        assert [(one.action, one.reason) for one in await client.acting.audit(run.id)] == [
            ("cancel", "a test")
        ]
    for url in (realm.admin, realm.worker):
        async with session(url) as connection:
            for change in ("DELETE FROM {}", "UPDATE {} SET actor = 'somebody else'", "TRUNCATE {}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(change.format(realm.table("audit")))


async def test_a_worker_may_call_migrate_where_there_is_nothing_to_do(realm: Realm) -> None:
    report = await migrate(realm.worker, realm.schema)
    assert (report.applied, report.engine, report.roles) == ((), False, ())


async def test_an_admin_does_all_but_migrate(realm: Realm) -> None:
    async with openqueue.connect(realm.admin, **realm.settings) as client:
        run = await client.enqueue("of.admin", allow_unknown=True)
        assert run.id in {one.id for one in await client.list_runs()}
        assert await run.cancel() == "cancelled"
        assert await run.retry() == "ready"
        assert await run.cancel() == "cancelled"
        await client.controls.limit(queue="of admin", concurrency=2)
        await client.controls.pause(queue="of admin")
        await client.controls.resume(queue="of admin")
        assert len(await client.attempts(run.id)) == 2
    async with session(realm.admin) as connection:
        await connection.execute(
            f"SELECT {realm.table('add_schedule')}('a', 'of.admin', every => '1 day');"
            f"SELECT {realm.table('pause_schedule')}('a'); SELECT {realm.table('remove_schedule')}('a')"
        )
        assert (
            await connection.execute(f"DELETE FROM {realm.table('runs')} WHERE id = '{run.id}'") == "DELETE 1"
        )
        for statement in (
            f"DROP TABLE {realm.table('jobs')}",
            f"UPDATE {realm.table('migrations')} SET checksum = ''",
            f"SELECT {realm.table('create_roles')}()",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_somebody_without_a_role_may_call_nothing(realm: Realm) -> None:
    async with session(realm.superuser) as connection:
        nobody = await connection.fetch(FUNCTIONS, realm.schema, "pg_monitor")
    assert len(nobody) > 100
    assert not any(row["may"] for row in nobody)


async def test_a_temporary_type_or_table_does_not_change_what_the_owner_runs(realm: Realm) -> None:
    """The oldest trick against functions with their owner's rights."""
    async with session(realm.enqueue) as connection:
        if not await connection.fetchval("SELECT has_database_privilege(current_database(), 'TEMP')"):
            pytest.skip("MISSING: the right to make temporary tables")
        await connection.execute("""
            CREATE TEMP TABLE pg_class (oid oid); CREATE TEMP TABLE jobs (id int);
            CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (false);
            CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (false);
            CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz';
            SET search_path = pg_temp, pg_catalog""")
        added = await connection.fetchval(f"SELECT {realm.table('add_job')}('any', job_key => 'temporary')")
        assert (
            await connection.fetchval(f"SELECT status FROM {realm.table('find_run')}($1)", added) == "queued"
        )
