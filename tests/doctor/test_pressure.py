"""What holds a database up: held by somebody, found, and gone when the remedy has been taken."""

from __future__ import annotations

import asyncio
import re

import asyncpg

from openqueue.doctor.case import Bounds
from tests.doctor.patient import Severity, connected, found, report, seen
from tests.support.eventually import eventually
from tests.support.own_server import OwnServer
from tests.support.servers import chosen_binaries

AT_ONCE = Bounds(transaction=(0.0, 3600.0), lock=(0.0, 3600.0))
NEVER = Bounds(notify=(2.0, 2.0))


def terminated(mend: tuple[str, ...]) -> int:
    """The session that the remedy ends."""
    said = re.search(r"pg_terminate_backend\((\d+)\)", mend[0])
    assert said, mend
    return int(said[1])


async def test_a_transaction_that_is_held_open_is_named_with_its_session_and_its_end(
    dsn: str, db: asyncpg.Connection
) -> None:
    async with connected(dsn, application_name="a report") as other:
        await other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM openqueue.jobs")
        finding = await found(dsn, "transactions", bounds=AT_ONCE)
        assert finding.severity is Severity.WARNING
        assert "(a report, user " in finding.what
        assert "idle in transaction, last: BEGIN ISOLATION LEVEL" in finding.what
        assert await seen(dsn, "transactions")  # it is not old
        old = await found(dsn, "transactions", bounds=Bounds(transaction=(0.0, 0.0)))
        assert old.severity is Severity.CRITICAL
        assert terminated(finding.mend) == other.get_server_pid()
        await db.fetchval("SELECT pg_terminate_backend($1, 60000)", other.get_server_pid())
    assert await seen(dsn, "transactions", bounds=AT_ONCE) == "none keeps dead rows"


async def test_a_long_statement_is_shown_short_and_in_one_line(dsn: str) -> None:
    async with connected(dsn) as other:
        await other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1,\n" + "2,\t" * 500 + "3")
        finding = await found(dsn, "transactions", bounds=AT_ONCE)
    assert "\n" not in finding.what
    assert len(finding.what) < 300


async def test_prepared_transactions_and_slots_are_found_too() -> None:
    settings = {"max_prepared_transactions": "2", "wal_level": "logical"}
    with OwnServer.temporary(chosen_binaries(), settings) as server:
        async with connected(server.dsn()) as other:
            await other.execute("CREATE TABLE t (n integer)")
            await other.execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'forgotten'")
            (finding,) = (await report(server.dsn(), "transactions", bounds=AT_ONCE)).findings
            assert "Prepared transaction 'forgotten' of " in finding.what
            assert finding.mend[0].startswith("psql -c \"ROLLBACK PREPARED 'forgotten'\"")
            await other.execute("ROLLBACK PREPARED 'forgotten'")


async def test_dead_rows_that_outnumber_the_live_ones_are_told_with_the_table(
    dsn: str, db: asyncpg.Connection
) -> None:
    await db.execute("ALTER TABLE openqueue.jobs SET (autovacuum_vacuum_threshold = 1000000)")
    await db.fetch("SELECT openqueue.add_job('a.b') FROM generate_series(1, 50)")
    await db.execute("DELETE FROM openqueue.jobs")
    await db.execute("DELETE FROM openqueue.run_requests")
    await db.execute("SELECT pg_stat_force_next_flush()")
    bounds = Bounds(dead_rows=50)

    async def told() -> bool:
        return bool((await report(dsn, "dead-rows", bounds=bounds)).findings)

    await eventually(told)
    finding = (await report(dsn, "dead-rows", bounds=bounds)).findings[0]
    assert "Table jobs has 50 dead rows and 0 live ones" in finding.what
    assert 'VACUUM (VERBOSE) "openqueue"."jobs"' in finding.mend[1]
    assert "50 at most, in jobs" in (await report(dsn, "dead-rows")).said


async def test_a_table_that_autovacuum_was_told_to_leave_alone_is_found_before_it_is_large(
    dsn: str, db: asyncpg.Connection
) -> None:
    await db.execute("ALTER TABLE openqueue.jobs SET (autovacuum_enabled = 'no')")
    finding = await found(dsn, "dead-rows")
    assert finding.severity is Severity.CRITICAL
    assert "turned off for table jobs" in finding.what
    said = re.search(r"ALTER TABLE .*\)", finding.mend[0])
    assert said is not None
    await db.execute(said[0])
    await seen(dsn, "dead-rows")


async def test_a_lock_is_told_once_with_who_holds_it_and_who_waits(dsn: str, db: asyncpg.Connection) -> None:
    async with (
        connected(dsn, application_name="a migration") as holder,
        connected(dsn, application_name="shop") as first,
        connected(dsn, application_name="shop") as second,
    ):
        await holder.execute("BEGIN; LOCK TABLE openqueue.jobs IN SHARE MODE")
        waiting = [
            asyncio.ensure_future(one.execute("SELECT openqueue.add_job('a.b')")) for one in (first, second)
        ]

        async def told() -> bool:
            findings = (await report(dsn, "locks", bounds=AT_ONCE)).findings
            return bool(findings) and len(findings[0].details["blocked"]) == 2

        await eventually(told)
        finding = await found(dsn, "locks", bounds=AT_ONCE)
        assert "(shop) and 1 more has waited" in finding.what
        assert (
            f"for a lock on jobs, which session {holder.get_server_pid()} (a migration, idle" in finding.what
        )
        assert terminated(finding.mend) == holder.get_server_pid()
        await holder.execute("ROLLBACK")
        await asyncio.gather(*waiting)
    assert await seen(dsn, "locks", bounds=AT_ONCE) == "nobody waits"
    await db.execute("DELETE FROM openqueue.jobs")
    await db.execute("DELETE FROM openqueue.run_requests")


async def test_what_a_lock_keeps_from_being_read_is_a_finding_that_leads_to_the_lock(dsn: str) -> None:
    async with connected(dsn) as holder:
        await holder.execute("BEGIN; LOCK TABLE openqueue.jobs IN ACCESS EXCLUSIVE MODE")
        finding = await found(dsn, "backlog", timeout=3.0)
        assert finding.what.startswith("Could not look: No answer from database")
        assert finding.mend == ("openqueue doctor --only locks,rights",)
        await holder.execute("ROLLBACK")


async def test_a_row_lock_on_a_job_is_a_lock_of_ours(dsn: str, db: asyncpg.Connection) -> None:
    run = await db.fetchval("SELECT openqueue.add_job('a.b')")
    async with connected(dsn, application_name="psql") as holder, connected(dsn) as other:
        await holder.execute(f"BEGIN; SELECT FROM openqueue.jobs WHERE id = '{run}' FOR UPDATE")
        waiting = asyncio.ensure_future(other.execute(f"SELECT openqueue.promote_run('{run}')"))

        async def told() -> bool:
            return bool((await report(dsn, "locks", bounds=AT_ONCE)).findings)

        await eventually(told)
        assert "(psql, idle in transaction)" in (await found(dsn, "locks", bounds=AT_ONCE)).what
        await holder.execute("ROLLBACK")
        await waiting


async def test_a_session_that_listens_in_a_transaction_fills_the_queue_of_notifications() -> None:
    """On a server of its own: all databases share the queue."""
    with OwnServer.temporary(chosen_binaries()) as server:
        async with (
            connected(server.dsn(), application_name="a forgetful one") as listening,
            connected(server.dsn(), application_name="a report") as older,
        ):
            await listening.execute("LISTEN anything")
            await older.execute("BEGIN; SELECT 1")
            await listening.execute("BEGIN; SELECT 1")
            async with connected(server.dsn()) as other:
                await other.execute(
                    "SELECT pg_notify('anything', n || repeat('x', 7000)) FROM generate_series(1, 300) n"
                )
            assert await seen(server.dsn(), "notify-queue", bounds=NEVER)
            full = Bounds(notify=(1e-9, 2.0))
            finding = await found(server.dsn(), "notify-queue", bounds=full)
            assert "(a forgetful one, database postgres)" in finding.what
            assert "idle in transaction" in finding.what
            ends = [
                terminated((line,)) for line in finding.mend
            ]  # of the older one, which does not listen, too
            assert ends == [older.get_server_pid(), listening.get_server_pid()]
            assert [row["pid"] for row in finding.details["sessions"]] == ends
