"""The server, the ways to it, and the schema: each finding on a server that was broken for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from openqueue.db.ledger import State, Status
from openqueue.db.migrations import migrate
from openqueue.doctor.case import Bounds, Case
from openqueue.doctor.checks import CHECKS, NAMES
from openqueue.doctor.reaching import Reached, judge_clock, judge_connection
from openqueue.doctor.schema import judge_status
from tests.doctor.patient import Severity, connected, found, look, report, seen
from tests.support.bouncer import MISSING, PROGRAM, Bouncer

AWAY = "postgresql://app:secret@127.0.0.1:1/shop"


async def alter(db: asyncpg.Connection, setting: str) -> None:
    """Set it for the test's own database: sessions that come have it."""
    name = await db.fetchval("SELECT current_database()")
    await db.execute(f'ALTER DATABASE "{name}" SET {setting}')


@pytest.fixture
async def role(db: asyncpg.Connection, dsn: str) -> AsyncIterator[str]:
    """The URL of a user who may connect, and nothing else."""
    name = await db.fetchval("SELECT 'few_' || current_database()")
    await db.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'few'")
    yield urlsplit(dsn)._replace(netloc=f"{name}:few@{urlsplit(dsn).netloc.rpartition('@')[2]}").geturl()
    await db.execute(f"DROP OWNED BY {name}")
    await db.execute(f"DROP ROLE {name}")


async def test_a_database_that_is_away_is_one_finding_and_what_needs_it_is_left_out() -> None:
    examined = await look(AWAY)
    assert [check for check, _ in examined.findings()] == ["connection"]
    (finding,) = [one for _, one in examined.findings()]
    assert finding.severity is Severity.CRITICAL
    assert "Cannot reach database 'shop' on 127.0.0.1:1 as user 'app'" in finding.what
    assert "secret" not in str(examined)
    assert [one.check for one in examined.reports] == list(NAMES)
    assert {one.check for one in examined.reports if not one.skipped} == {"settings", "connection"}


async def test_a_migrated_database_with_nothing_to_do_has_no_more_than_notices(dsn: str) -> None:
    examined = await look(dsn)
    assert [one.check for one in examined.reports] == list(NAMES)
    about_tests = {"server-settings"}  # the tests' server has fsync off
    assert {check for check, one in examined.findings() if one.severity > Severity.NOTICE} <= about_tests
    assert not any(one.skipped for one in examined.reports)


async def test_without_a_schema_every_other_check_says_what_it_can(empty_dsn: str) -> None:
    examined = await look(empty_dsn)
    finding = next(one for check, one in examined.findings() if check == "schema")
    assert finding.severity is Severity.CRITICAL
    assert finding.mend == ("openqueue migrate",)
    skipped = {one.check for one in examined.reports if one.skipped}
    assert skipped >= {"backlog", "workers", "schedules", "leader", "partitions", "rights", "history"}
    assert {"connection", "server", "transactions", "locks", "notify-queue"}.isdisjoint(skipped)


async def test_an_old_schema_is_told_of_once_and_not_by_every_check(dsn: str) -> None:
    async with connected(dsn) as other:
        await other.execute("ALTER TABLE openqueue.schedules DROP COLUMN last_error CASCADE")
        await other.execute("DELETE FROM openqueue.migrations WHERE number >= 6")
    examined = await look(dsn)
    by_check = {one.check: one for one in examined.reports}
    assert by_check["schema"].state == "critical", by_check["schema"].findings[0].what
    assert "too old" in by_check["schema"].findings[0].what
    assert by_check["schedules"].skipped
    assert by_check["workers"].state == "well"


@pytest.mark.parametrize("state", [State.CHANGED, State.AHEAD])
def test_a_schema_of_another_build_or_a_newer_one_is_judged(state: State) -> None:
    (finding,) = judge_status(Status("openqueue", state, 9, 8, changed=("0001_engine.sql",))).findings
    assert finding.severity is (Severity.CRITICAL if state is State.CHANGED else Severity.NOTICE)


@pytest.mark.parametrize(
    ("setting", "severity", "said"),
    [
        ("synchronous_commit = off", Severity.WARNING, "synchronous_commit is off (database)"),
        ("default_transaction_isolation = 'serializable'", Severity.WARNING, "isolation is serializable"),
        ("statement_timeout = '1s'", Severity.WARNING, "statement_timeout is 1s for this user (database)"),
        ("idle_session_timeout = '10s'", Severity.WARNING, "idle_session_timeout is 10s"),
    ],
)
async def test_a_setting_that_hurts_is_named_with_where_it_was_set(
    dsn: str, db: asyncpg.Connection, setting: str, severity: Severity, said: str
) -> None:
    name, *_ = setting.split()
    await alter(db, setting)
    findings = (await report(dsn, "server-settings")).findings
    (finding,) = [one for one in findings if one.what.startswith(name)]
    assert finding.severity is severity
    assert said in finding.what


async def test_a_database_that_only_reads_is_critical(dsn: str, db: asyncpg.Connection) -> None:
    await alter(db, "default_transaction_read_only = on")
    finding = (await report(dsn, "server")).findings[0]
    assert finding.severity is Severity.CRITICAL
    assert "nothing can be enqueued" in finding.what


async def test_few_sessions_left_and_a_great_age_are_told(dsn: str) -> None:
    bounds = Bounds(sessions=(0.0, 0.0), frozen=(1, 2_000_000_000))
    findings = (await report(dsn, "server", bounds=bounds)).findings
    assert [one.severity for one in findings] == [Severity.CRITICAL, Severity.WARNING]
    assert "sessions are in use" in findings[0].what
    assert "last frozen" in findings[1].what


async def test_a_user_with_few_rights_is_told_which_are_missing(role: str, db: asyncpg.Connection) -> None:
    finding = await found(role, "rights")
    assert "USAGE on schema openqueue" in finding.what
    assert "nothing can be enqueued" in finding.why
    name = await db.fetchval("SELECT 'few_' || current_database()")
    await db.execute(f"GRANT USAGE ON SCHEMA openqueue TO {name}")
    await db.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA openqueue TO {name}")
    await db.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA openqueue TO {name}")
    assert await seen(role, "rights") == "all that a worker needs"
    await db.execute(f"REVOKE DELETE ON openqueue.jobs FROM {name}")
    assert "DELETE on table jobs" in (await found(role, "rights")).what


async def test_with_few_rights_nothing_is_a_traceback(role: str) -> None:
    examined = await look(role)
    failed = [one for one in examined.reports if one.said == "could not look"]
    assert {one.check for one in failed} >= {"schema", "backlog"}
    assert all("A right is missing" in one.findings[0].what for one in failed)
    sight = next(one for check, one in examined.findings() if check == "server")
    assert (sight.severity, "pg_read_all_stats" in sight.mend[0]) == (Severity.NOTICE, True)


async def test_a_month_without_partitions_is_graded_by_how_near_it_is(
    dsn: str, db: asyncpg.Connection
) -> None:
    assert await seen(dsn, "partitions") == "this month and the next ones"
    names = await db.fetch(
        """SELECT c.relname FROM pg_class c WHERE c.relispartition AND c.relkind = 'r'
        AND c.relnamespace = 'openqueue'::regnamespace AND c.relname ~ '^attempts_' ORDER BY 1"""
    )
    *_, month, coming = [row[0] for row in names][-2:]
    await db.execute(f"DROP TABLE openqueue.{coming}")
    assert (await found(dsn, "partitions")).severity is Severity.NOTICE
    await db.execute(f"DROP TABLE openqueue.{month}")
    severities = [one.severity for one in (await report(dsn, "partitions")).findings]
    assert severities == [Severity.WARNING, Severity.NOTICE]
    for row in names[:-2]:
        await db.execute(f"DROP TABLE openqueue.{row[0]}")
    first = (await report(dsn, "partitions")).findings[0]
    assert (first.severity, first.mend) == (Severity.CRITICAL, ("openqueue migrate",))
    assert first.why == "Now no outcome of a run that is enqueued in that month can be stored."
    await db.execute(f"DROP TABLE openqueue.{names[0][0].replace('attempts', 'run_requests')}")
    assert (await report(dsn, "partitions")).findings[0].why == "Now nothing can be enqueued."
    await migrate(dsn)
    assert await seen(dsn, "partitions") == "this month and the next ones"


async def test_a_history_that_nobody_removes_is_told_of_from_a_size_on(dsn: str) -> None:
    bounds = Bounds(history=1)
    assert "no retention is set" in (await found(dsn, "history", bounds=bounds)).what
    await seen(dsn, "history", bounds=bounds, retention=True)
    await seen(dsn, "history")


async def test_notifications_arrive_where_nothing_is_in_between(dsn: str) -> None:
    assert await seen(dsn, "listen") == "notifications arrive"
    assert "ms away" in await seen(dsn, "connection", bounds=Bounds(round_trip=1e9))


async def test_a_listen_dsn_to_another_database_is_found_out(dsn: str, empty_dsn: str) -> None:
    """Nothing is heard there: the doctor gives up on that, and not on the rest."""
    finding = await found(dsn, "listen", listen_url=SecretStr(empty_dsn), timeout=2.0)
    assert "not heard" in finding.what
    assert "another database" in finding.why
    away = await found(dsn, "listen", listen_url=SecretStr(AWAY))
    assert away.severity is Severity.CRITICAL


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
async def test_a_pooler_that_the_settings_know_nothing_of_is_recognised(dsn: str) -> None:
    for sessions in (1, 3):
        with Bouncer.before(dsn, sessions=sessions) as bouncer:
            finding = await found(bouncer.dsn, "connection", bounds=Bounds(round_trip=1e9))
            assert finding.severity is Severity.CRITICAL
            assert "pooler in transaction mode" in finding.what
            assert "OPENQUEUE_POOLER=transaction" in finding.mend[0]
    with Bouncer.before(dsn) as bouncer:
        said = await seen(bouncer.dsn, "connection", pooled=True, bounds=Bounds(round_trip=1e9))
        assert "through a pooler in transaction mode" in said
        listen = await found(bouncer.dsn, "listen", pooled=True)
        assert "there is no listen_dsn" in listen.what


async def test_a_pooler_that_is_not_there_is_a_notice(dsn: str) -> None:
    finding = await found(dsn, "connection", pooled=True, bounds=Bounds(round_trip=1e9))
    assert finding.severity is Severity.NOTICE


@pytest.mark.parametrize(
    ("ahead", "severity"),
    [(0.4, None), (-30.0, Severity.WARNING), (30.0, Severity.WARNING), (4000.0, Severity.CRITICAL)],
)
def test_clocks_that_differ_by_more_than_the_way_explains_are_told(
    ahead: float, severity: Severity | None
) -> None:
    reached = Reached("database", "none", 0.02, ahead, 0.01)
    findings = judge_clock(reached, Case(url=None)).findings
    assert [one.severity for one in findings] == ([] if severity is None else [severity])
    slow = Reached("database", "none", 20_000.0, ahead, 10_000.0)
    assert judge_clock(slow, Case(url=None)).findings == ()
    assert judge_connection(slow, Case(url=None)).findings[0].severity is Severity.NOTICE


async def test_a_remark_about_the_settings_is_a_finding(dsn: str) -> None:
    assert (await found(dsn, "settings", remarks=["OPENQUEUE_CONCURENCY: no such setting"])).what.startswith(
        "OPENQUEUE_CONCURENCY"
    )


async def test_without_a_database_the_remedy_is_told() -> None:
    from openqueue.doctor.examination import examine

    examined = await examine(Case(url=None, no_url="There is no database."))
    assert [one.what for _, one in examined.findings()] == ["There is no database."]


async def test_each_query_is_read_once_for_all_who_need_it(dsn: str, db: asyncpg.Connection) -> None:
    readers = [name for one in CHECKS for name in one.reads]
    assert readers.count("workers") > 2
    async with connected(dsn, application_name="openqueue other"):
        await asyncio.gather(*(look(dsn) for _ in range(2)))  # side by side, too
