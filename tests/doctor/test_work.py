"""Work that nobody does: jobs without a worker, tasks that nobody has, schedules that fire nothing."""

from __future__ import annotations

import shlex

import asyncpg
import pytest

from openqueue import task
from openqueue.doctor.case import Bounds
from tests.doctor.patient import Severity, found, register, report, seen
from tests.support.worker_here import working

AT_ONCE = Bounds(unattended=0.0, slow=0.0, late=0.0)
PATIENT = Bounds(unattended=3600.0, slow=3600.0)


@task(name="mail.send", queue="mail")
async def send() -> None:
    """Send a mail."""


async def test_jobs_without_any_worker_are_told_with_the_queue_that_needs_one(
    dsn: str, db: asyncpg.Connection
) -> None:
    assert await seen(dsn, "backlog") == "0 jobs ready in 0 queues"
    await db.fetch("SELECT openqueue.add_job('mail.send', queue_name => 'mail') FROM generate_series(1, 3)")
    finding = await found(dsn, "backlog", bounds=PATIENT)
    assert finding.severity is Severity.WARNING
    assert finding.what.startswith("No worker is alive, and 3 jobs are ready in mail, the oldest for ")
    assert finding.mend == ("openqueue worker",)
    assert (await found(dsn, "backlog", bounds=AT_ONCE)).severity is Severity.CRITICAL


async def test_workers_of_other_queues_do_not_count(dsn: str, db: asyncpg.Connection) -> None:
    await db.fetchval("SELECT openqueue.add_job('mail.send', queue_name => 'mail')")
    await register(db, queues="ARRAY['reports']")
    assert "none of the workers that are alive works on it" in (await found(dsn, "backlog")).what
    await register(db, "w-2", state="'draining'")
    assert "none of the workers that are alive works on it" in (await found(dsn, "backlog")).what
    await register(db, "w-3", beat_at="now() - interval '1 hour'")
    assert "none of the workers that are alive works on it" in (await found(dsn, "backlog")).what


async def test_a_queue_that_workers_do_not_keep_up_with_is_told_from_an_age_on(
    dsn: str, db: asyncpg.Connection
) -> None:
    async with working(dsn, send, queues={"reports": None}):
        await db.fetchval("SELECT openqueue.add_job('mail.send', queue_name => 'mail')")
        await register(db, "another", started_at="now() - interval '1 hour'")
        finding = await found(dsn, "backlog", bounds=AT_ONCE)
        assert "although workers work on it" in finding.what
        assert finding.mend[0].startswith("openqueue queues show mail ")
        await seen(dsn, "backlog", bounds=PATIENT)
        await db.execute("SELECT openqueue.pause_queue('mail')")
        await seen(dsn, "backlog", bounds=AT_ONCE)  # it is meant to wait


async def test_a_great_backlog_is_looked_at_in_part_and_said_to_be(dsn: str, db: asyncpg.Connection) -> None:
    await db.fetch("SELECT openqueue.add_job('a.b') FROM generate_series(1, 20)")
    finding = await found(dsn, "backlog", bounds=Bounds(looked_at=10))
    assert "at least 10 jobs are ready" in finding.what


async def test_jobs_of_a_task_that_no_worker_publishes_are_told_with_the_nearest_name(
    dsn: str, db: asyncpg.Connection
) -> None:
    async with working(dsn, send):
        await db.fetchval("SELECT openqueue.add_job('mail.sendd', queue_name => 'mail')")
        finding = await found(dsn, "tasks")
        assert finding.severity is Severity.WARNING
        assert "1 job of task mail.sendd waits, which no worker that is alive publishes." in finding.what
        assert "Did you mean 'mail.send'?" in finding.what
        await seen(dsn, "backlog", bounds=AT_ONCE)  # told of once, not twice


async def test_where_no_worker_lives_only_names_that_nobody_knows_are_told(
    dsn: str, db: asyncpg.Connection
) -> None:
    await db.fetchval("SELECT openqueue.add_job('mail.send', queue_name => 'mail')")
    await seen(dsn, "tasks")
    await seen(dsn, "tasks", tasks=["mail.send"])
    finding = await found(dsn, "tasks", tasks=["mail.sendd"])
    assert "Did you mean 'mail.sendd'?" in finding.what


async def test_a_task_that_only_former_workers_had_is_told_as_gone(dsn: str, db: asyncpg.Connection) -> None:
    async with working(dsn, send):
        pass
    await register(db)
    await db.fetchval("SELECT openqueue.add_job('mail.send', queue_name => 'mail')")
    assert "no worker that is alive publishes any more" in (await found(dsn, "tasks")).what


async def test_tasks_found_here_are_compared_with_those_that_workers_have(dsn: str) -> None:
    assert "2 found in tasks, 0 published" in await seen(
        dsn, "tasks", tasks=["mail.send", "mail.new"], looked_in=["tasks"]
    )
    async with working(dsn, send):
        finding = await found(dsn, "tasks", tasks=["mail.send", "mail.new"])
    assert finding.severity is Severity.NOTICE
    assert "No worker knows 1 task that is found here: mail.new." in finding.what


async def test_tasks_that_cannot_be_imported_are_critical(dsn: str) -> None:
    finding = await found(dsn, "tasks", tasks=None, tasks_fault="tasks/mail.py: No module named 'smtp'")
    assert finding.severity is Severity.CRITICAL
    assert "No module named 'smtp'" in finding.what


async def test_what_is_paused_is_told_with_what_waits_for_it(dsn: str, db: asyncpg.Connection) -> None:
    assert await seen(dsn, "pauses") == "nothing is paused"
    await db.execute("SELECT openqueue.pause_queue('mail', reason => 'the provider is down')")
    finding = await found(dsn, "pauses")
    assert finding.severity is Severity.NOTICE
    assert finding.what == "Queue mail is paused until it is resumed (the provider is down)."
    await db.fetchval("SELECT openqueue.add_job('mail.send', queue_name => 'mail')")
    finding = await found(dsn, "pauses")
    assert finding.severity is Severity.WARNING
    assert finding.what.endswith(", and 1 job waits for that.")
    assert finding.mend == ("openqueue queues resume mail",)


async def test_workers_that_are_stuck_silent_or_suspected_are_told_by_name(
    dsn: str, db: asyncpg.Connection
) -> None:
    await register(db, "fine")
    assert await seen(dsn, "workers") == "1 worker alive"
    await register(db, "stuck", state="'stuck'", running="7")
    await register(db, "silent", beat_at="now() - interval '40 seconds'")
    await register(db, "suspect", suspected_at="now() - interval '2 seconds'")
    by_worker = {one.details["worker"]: one for one in (await report(dsn, "workers")).findings}
    assert by_worker.keys() == {"stuck", "silent", "suspect"}
    assert by_worker["stuck"].severity is Severity.CRITICAL
    assert "with 7 runs in it" in by_worker["stuck"].what
    assert "(process 4711 on host) has not been heard of for 4" in by_worker["silent"].what
    assert "its session is gone" in by_worker["suspect"].what


async def test_versions_side_by_side_are_a_notice(dsn: str, db: asyncpg.Connection) -> None:
    await register(db, "new")
    await register(db, "old", version="'0.0.9'")
    finding = await found(dsn, "workers")
    assert finding.severity is Severity.NOTICE
    assert "0.0.9, 0.1.0" in finding.what


async def test_workers_that_nobody_leads_are_worse_where_there_are_schedules(
    dsn: str, db: asyncpg.Connection
) -> None:
    assert await seen(dsn, "leader") == "nobody leads, as no worker is alive"
    await register(db)
    assert (await found(dsn, "leader")).severity is Severity.WARNING
    await db.execute("SELECT openqueue.add_schedule('nightly', 'mail.send', cron => '0 2 * * *')")
    finding = await found(dsn, "leader")
    assert finding.severity is Severity.CRITICAL
    assert finding.why.startswith("1 schedule fires nothing")
    worker = await register(db, "leader")
    await db.execute(
        "INSERT INTO openqueue.leader VALUES ('default', $1, NULL, now(), now() + interval '1 hour')", worker
    )
    assert await seen(dsn, "leader") == "leader leads"


@pytest.mark.parametrize(
    ("column", "value", "severity", "said"),
    [
        ("invalid", "'no such zone: Mars'", Severity.CRITICAL, "cannot be computed: no such zone: Mars"),
        ("next_at", "now() - interval '5 hours'", Severity.WARNING, "is 5h"),
        (
            "(last_error, failed_at)",
            "('input: too large', now() - interval '2 hours')",
            Severity.WARNING,
            "could not enqueue a tick 2h ago: input: too large",
        ),
        (
            "(paused_until, pause_reason, seen_at)",
            "('infinity', openqueue.unpublished(), now() - interval '8 days')",
            Severity.WARNING,
            "was paused because no worker has published its task mail.send for 8d",
        ),
    ],
)
async def test_a_schedule_that_does_not_fire_is_told_with_the_reason(
    dsn: str, db: asyncpg.Connection, column: str, value: str, severity: Severity, said: str
) -> None:
    async with working(dsn, send):
        pass
    await db.execute("SELECT openqueue.add_schedule('nightly', 'mail.send', cron => '0 2 * * *')")
    assert await seen(dsn, "schedules") == "1 schedule"
    await db.execute(f"UPDATE openqueue.schedules SET {column} = {value}")
    finding = await found(dsn, "schedules")
    assert finding.severity is severity
    assert finding.what.startswith("Schedule nightly ")
    assert said in finding.what


async def test_a_schedule_that_cannot_be_computed_is_told_before_a_leader_has_seen_it(
    dsn: str, db: asyncpg.Connection
) -> None:
    await db.execute("SELECT openqueue.add_schedule('nightly', 'mail.send', cron => '0 0 31 2 *')")
    assert "cannot be computed: cron: '0 0 31 2 *' never fires" in (await found(dsn, "schedules")).what


async def test_a_schedule_of_a_task_that_nobody_has_is_told(dsn: str, db: asyncpg.Connection) -> None:
    await db.execute("SELECT openqueue.add_schedule('nightly', 'mail.gone', cron => '0 2 * * *')")
    assert "runs task mail.gone, which no worker has ever published" in (await found(dsn, "schedules")).what


async def test_the_remedy_names_a_schedule_as_the_shell_reads_it(dsn: str, db: asyncpg.Connection) -> None:
    await db.execute("SELECT openqueue.add_schedule('bob''s mail', 'mail.gone', cron => '0 2 * * *')")
    finding = await found(dsn, "schedules")
    assert finding.what.startswith("Schedule bob's mail ")
    assert any(shlex.split(line, comments=True)[2:] == ["show", "bob's mail"] for line in finding.mend)


async def test_a_schedule_past_the_key_that_its_task_works_out_is_told(
    dsn: str, db: asyncpg.Connection
) -> None:
    @task(name="bank.book", concurrency_key=lambda account: account)
    async def book(account: str) -> None:
        """Book it."""

    async with working(dsn, book, send):
        pass
    add = "SELECT openqueue.add_schedule('nightly', 'bank.book', '{\"account\": \"ada\"}', cron => '@daily'"
    await db.execute(f"{add})")
    finding = await found(dsn, "schedules")
    assert (
        finding.what
        == "Schedule nightly has no concurrency key, and task bank.book works one out for its runs."
    )
    await db.execute(f"{add}, concurrency_key => 'ada')")
    assert await seen(dsn, "schedules") == "1 schedule"
