"""Months that go as a whole, the archive, and what stands in nobody's way."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pyarrow import parquet

from openqueue.cluster.events import HistoryPruned
from openqueue.cluster.pruner import Pruner, next_size
from openqueue.cluster.retention import Pruned, Retention, Rule
from openqueue.db.pool import Database
from openqueue.db.target import Target
from openqueue.errors import ConnectionFailed, InvalidOption
from openqueue.events import Event
from tests.engine.calls import Engine, blocked
from tests.support.eventually import PATIENCE
from tests.support.history import add_runs, month_ago

OLD, OLDER = month_ago(6), month_ago(7)
MONTH, MONTH_BEFORE = f"{OLD:%Y-%m}", f"{OLDER:%Y-%m}"
DAYS = timedelta(days=90)
EVERYTHING = Retention((Rule(older_than=DAYS),), DAYS)


class Pruning:
    """Prunes a test's database; `told` are the events."""

    def __init__(self, database: Database, dsn: str) -> None:
        self.told: list[Event] = []
        self.database = database
        self.dsn = dsn

    async def __call__(
        self,
        retention: Retention = EVERYTHING,
        *,
        patience: float = PATIENCE,
        namespace: str = "default",
        batch: int = 10,
        **how: Any,
    ) -> Pruned:
        target = Target.of(self.dsn)
        pruner = Pruner(
            self.database,
            target,
            namespace,
            self.told.append,
            batch=batch,
            patience=patience,
            retention=retention,
        )
        return await pruner.prune(retention, **how)


@pytest.fixture
async def pruning(dsn: str) -> AsyncIterator[Pruning]:
    async with Database(dsn) as database:
        yield Pruning(database, dsn)


@pytest.fixture
async def engine(db: asyncpg.Connection) -> Engine:
    return Engine(db)


@pytest.fixture
async def reader(dsn: str) -> AsyncIterator[Any]:
    """Another session, that reads."""
    connection: Any = await asyncpg.connect(dsn)
    yield connection
    await connection.close(timeout=60)


async def months(engine: Engine) -> dict[str, str]:
    """Those before this one, and where they stand."""
    found = {row["month"]: row["state"] for row in await engine.call("history_months")}
    return {month: state for month, state in found.items() if month < f"{month_ago(0):%Y%m}"}


async def count(engine: Engine) -> int:
    return int((await engine.sql("SELECT count(*) FROM run_requests"))[0][0])


async def work(engine: Engine) -> None:
    """Enqueue, claim and finish: what must never wait."""
    await engine.add(2)
    await engine.bulk(3)
    assert len(await engine.run_once()) == 5


async def test_a_month_in_which_all_may_go_is_dropped(engine: Engine, pruning: Pruning) -> None:
    await add_runs(engine.db, OLD, 30)
    await add_runs(engine.db, OLDER, 30)
    await work(engine)
    done = await pruning()
    assert [month.month for month in done.months] == [MONTH_BEFORE, MONTH]
    assert [month.waits for month in done.months] == [None, None]
    assert (done.removed, done.kept) == (0, {})
    assert await count(engine) == 5
    tables = await engine.sql("SELECT relname FROM pg_class WHERE relname LIKE '%' || $1", f"{OLD:%Y%m}")
    assert tables == []
    assert [event.months for event in pruning.told if isinstance(event, HistoryPruned)] == [
        (MONTH_BEFORE, MONTH)
    ]
    assert done.before["run_requests"].bytes > done.after["run_requests"].bytes


async def unfinished(engine: Engine) -> None:
    (run,) = await add_runs(engine.db, OLD, 1)
    assert await engine.value("retry_run", run) == "ready"


async def of_another_namespace(engine: Engine) -> None:
    await add_runs(engine.db, OLD, 1, namespace="another")


async def ended_late(engine: Engine) -> None:
    await add_runs(engine.db, OLD, 1, finished=month_ago(0) - timedelta(days=30))


async def of_a_schedule(engine: Engine) -> None:
    (run,) = await add_runs(engine.db, OLD, 1, meta='{"openqueue.tick": {"schedule": "k"}}')
    await engine.sql("SELECT add_schedule('k', 't', every => interval '1 day')")
    await engine.sql(
        "INSERT INTO schedule_ticks (namespace, schedule, at, fired_at, run_id)"
        " VALUES ('default', 'k', $1, $1, $2)",
        OLD,
        run,
    )


async def answered(engine: Engine) -> None:
    (run,) = await add_runs(engine.db, OLD, 1)
    await engine.sql(
        "INSERT INTO idempotency VALUES ('default', 't', 'k', $1, now() + interval '1 day')", run
    )


@pytest.mark.parametrize(
    ("keep", "why"),
    [
        (unfinished, "not finished"),
        (of_another_namespace, "another namespace"),
        (ended_late, "is to be kept"),
        (of_a_schedule, "schedule's newest run"),
        (answered, "an idempotency key"),
    ],
)
async def test_one_run_that_must_stay_keeps_its_month_and_all_others_in_it_go(
    engine: Engine, pruning: Pruning, keep: Callable[[Engine], Awaitable[None]], why: str
) -> None:
    await keep(engine)
    await add_runs(engine.db, OLD, 25)
    done = await pruning()
    assert done.months == []
    assert why in done.kept[MONTH]
    assert done.runs == {"completed": 25}
    assert await count(engine) == 1


async def test_rules_go_from_the_first_that_matches(engine: Engine, pruning: Pruning) -> None:
    for task in ("audit", "mail", "other"):
        for outcome in ("completed", "failed"):
            await add_runs(engine.db, OLD, 2, task=task, outcome=outcome, queue="slow")
    said = {"tasks": {"audit": "forever"}, "queues": {"slow": "400d"}, "failed": "500d", "all": "30d"}
    assert (await pruning(Retention.of(said))).runs == {}
    assert (await pruning(Retention.of({**said, "queues": {}}))).runs == {"completed": 4}
    (month,) = (await pruning(Retention.of({"all": "30d", "tasks": {"mail": "1d"}}))).months
    assert month.month == MONTH


async def test_whole_months_only(engine: Engine, pruning: Pruning) -> None:
    await ended_late(engine)
    await add_runs(engine.db, OLD, 5)
    await add_runs(engine.db, OLDER, 5)
    done = await pruning(Retention((Rule(older_than=DAYS),), whole_months=True))
    assert [month.month for month in done.months] == [MONTH_BEFORE]
    assert (done.removed, await count(engine)) == (0, 6)


async def test_a_dry_run_says_what_a_prune_does_and_does_nothing(engine: Engine, pruning: Pruning) -> None:
    await add_runs(engine.db, OLDER, 5)
    await ended_late(engine)
    await add_runs(engine.db, OLD, 12)
    said = await pruning(dry_run=True)
    assert await count(engine) == 18
    assert set((await months(engine)).values()) == {"attached"}
    done = await pruning()
    assert [one.month for one in said.months] == [one.month for one in done.months] == [MONTH_BEFORE]
    assert said.runs == done.runs == {"completed": 12}
    assert said.kept == done.kept


async def test_a_report_that_is_open_holds_up_the_drop_and_nobody_else(
    engine: Engine, pruning: Pruning, reader: Any
) -> None:
    await add_runs(engine.db, OLD, 20)
    report = reader.transaction()
    await report.start()
    await reader.fetch("SELECT count(*) FROM openqueue.runs")
    done = await pruning(patience=0.0)
    assert [(month.month, bool(month.waits)) for month in done.months] == [(MONTH, True)]
    await work(engine)
    await report.rollback()
    done = await pruning()
    assert [(month.month, month.waits) for month in done.months] == [(MONTH, None)]
    assert await count(engine) == 5


@pytest.mark.parametrize("step", ["CONCURRENTLY", "FINALIZE"])
async def test_while_a_step_waits_for_readers_work_goes_on(
    engine: Engine, dsn: str, reader: Any, step: str
) -> None:
    """The step is held where it waits, without any time limit; it holds what it holds meanwhile."""
    month = f"{OLD:%Y%m}"
    await add_runs(engine.db, OLD, 20)
    await work(engine)
    report = reader.transaction()
    await report.start()
    await reader.fetch("SELECT count(*) FROM openqueue.runs")
    pruner: Any = await asyncpg.connect(dsn)
    pid = await pruner.fetchval("SELECT pg_backend_pid()")
    assert await pruner.fetchval("SELECT openqueue.freeze_month($1)", month)
    statement = await pruner.fetchval("SELECT openqueue.retire_month($1)", month)
    if step == "FINALIZE":
        await pruner.execute("SET lock_timeout = '1ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await pruner.execute(statement)
        await pruner.execute("SET lock_timeout = 0")
        statement = await pruner.fetchval("SELECT openqueue.retire_month($1)", month)
    assert step in statement
    waiting = asyncio.create_task(pruner.execute(statement))
    await blocked(engine.db, pid)
    await work(engine)
    (run,) = await engine.add()
    assert await engine.value("cancel_run", run, None) == "cancelled"
    assert await engine.value("retry_run", run) == "ready"
    held = await engine.sql(
        "SELECT relation::regclass::text AS name, mode FROM pg_locks WHERE pid = $1 AND locktype = 'relation'"
        " AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')",
        pid,
    )
    assert [row for row in held if not row["name"].endswith(month)] == []
    assert not waiting.done()
    await report.rollback()
    await waiting
    await pruner.close(timeout=60)


async def test_a_frozen_month_is_written_to_by_nobody_and_read_by_all(
    engine: Engine, dsn: str, pruning: Pruning
) -> None:
    (run, *_) = await add_runs(engine.db, OLD, 5)
    pruner: Any = await asyncpg.connect(dsn)
    async with pruner.transaction():
        assert await pruner.fetchval("SELECT openqueue.freeze_month($1)", f"{OLD:%Y%m}")
        await work(engine)  # while its locks are held
        assert await engine.status(run) == "completed"
    await pruner.close(timeout=60)
    with pytest.raises(asyncpg.ObjectInUseError, match="is being removed"):
        await engine.value("retry_run", run)
    assert await engine.sql("SELECT FROM jobs") == []
    assert (await engine.sql("SELECT runs FROM prune('90 days')"))[0]["runs"] == 0
    assert [one.month for one in (await pruning()).months] == [MONTH]


async def test_a_month_that_was_frozen_and_has_to_stay_is_written_to_again(
    engine: Engine, pruning: Pruning
) -> None:
    (run, *_) = await add_runs(engine.db, OLD, 5)
    assert (await engine.sql("SELECT freeze_month($1)", f"{OLD:%Y%m}"))[0][0]
    assert (await pruning(Retention((Rule(older_than=timedelta(days=400)),)))).months == []
    assert await engine.value("retry_run", run) == "ready"
    assert (await engine.sql("SELECT freeze_month($1)", f"{OLD:%Y%m}"))[0][0] is False


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_what_was_interrupted_is_gone_on_with(engine: Engine, pruning: Pruning, steps: int) -> None:
    month = f"{OLD:%Y%m}"
    await add_runs(engine.db, OLD, 5)
    await engine.sql("SELECT freeze_month($1)", month)
    for _ in range(steps):
        await engine.db.execute((await engine.sql("SELECT retire_month($1)", month))[0][0])
    assert await count(engine) == (0 if steps == 3 else 5)
    assert [(one.month, one.waits) for one in (await pruning()).months] == [(MONTH, None)]
    assert await months(engine) == {}


async def test_only_one_drops_months_at_a_time(engine: Engine, pruning: Pruning) -> None:
    await add_runs(engine.db, OLD, 5)
    assert await engine.value("lock_months")
    done = await pruning()
    assert (done.months, done.kept) == ([], {"*": "another prune drops months just now"})
    assert done.runs == {"completed": 5}


async def test_behind_a_pooler_runs_go_one_by_one(engine: Engine, pruning: Pruning, dsn: str) -> None:
    await add_runs(engine.db, OLD, 5)
    pruner = Pruner(pruning.database, Target.of(dsn, pooled=True), "default", pruning.told.append)
    done = await pruner.prune(EVERYTHING)
    assert "pooler" in done.kept["*"]
    assert done.runs == {"completed": 5}


def files(path: Path) -> list[str]:
    return [one.name for one in path.iterdir()]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


async def test_the_archive_has_exactly_what_was_removed(
    engine: Engine, pruning: Pruning, tmp_path: Path
) -> None:
    old = await add_runs(engine.db, OLDER, 25)
    await ended_late(engine)
    some = await add_runs(engine.db, OLD, 25, outcome="failed", task="mail.send")
    path = tmp_path / "runs.jsonl.gz"
    done = await pruning(archive=path)
    assert files(tmp_path) == ["runs.jsonl.gz"]
    found = lines(path)
    assert sorted(one["id"] for one in found) == sorted(str(run) for run in [*old, *some])
    assert done.archived == 50
    (one,) = (one for one in found if one["id"] == str(some[0]))
    assert (one["status"], one["task"], one["input"]) == ("failed", "mail.send", {})
    assert [attempt["outcome"] for attempt in one["attempts"]] == ["failed"]
    assert [event["event"] for event in one["events"]] == ["enqueued", "started", "log", "failed"]
    with pytest.raises(InvalidOption, match=r"runs\.jsonl\.gz.*is there already"):
        await pruning(archive=path)


async def test_the_report_has_the_rows_and_the_dead_ones_as_they_are_after_it(
    engine: Engine, pruning: Pruning
) -> None:
    await ended_late(engine)
    await add_runs(engine.db, OLD, 25)
    await engine.sql("SELECT pg_stat_force_next_flush()")
    done = await pruning()
    assert done.removed == 25
    before, after = done.before["run_requests"], done.after["run_requests"]
    assert before.rows - after.rows == 25
    assert after.dead >= 25


def archived(path: Path) -> list[str]:
    """The ids of the runs in an archive, in order."""
    rows = parquet.read_table(path).to_pylist() if path.suffix == ".parquet" else lines(path)
    return [row["id"] for row in rows]


@asynccontextmanager
async def impatient(dsn: str, whose: str) -> AsyncIterator[Database]:
    """A database whose statements may take 2.5 s, by the clock of this side or of the server."""
    limited = f"{dsn}{'&' if '?' in dsn else '?'}options=-c%20statement_timeout%3D2500"
    async with Database(
        dsn if whose == "ours" else limited, timeout=2.5 if whose == "ours" else PATIENCE
    ) as one:
        yield one


@pytest.mark.parametrize(
    ("whose", "archive"),
    [("ours", None), ("ours", "runs.jsonl.gz"), ("the server's", "runs.parquet"), ("the server's", None)],
)
async def test_runs_that_logged_too_much_for_one_batch_go_in_smaller_ones(
    engine: Engine, dsn: str, tmp_path: Path, whose: str, archive: str | None
) -> None:
    """A batch that does not end in time would be tried again for ever, and nothing ever go."""
    await ended_late(engine)
    ids = await add_runs(engine.db, OLD, 4)
    await engine.db.execute("""
        CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF (SELECT count(*) FROM gone) > 2 THEN PERFORM pg_sleep(300); END IF; RETURN NULL; END $$;
        CREATE TRIGGER linger AFTER DELETE ON openqueue.run_requests
        REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION linger()""")
    path = tmp_path / (archive or "none")
    async with impatient(dsn, whose) as database:
        done = await Pruning(database, dsn)(archive=path if archive else None)
    assert done.removed == 4
    if archive:
        assert files(tmp_path) == [archive]
        assert archived(path) == sorted(map(str, ids))
        assert done.archived == 4


LATE_AT_THE_END = """
    CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('test.gone', concat(current_setting('test.gone', true), 'x'), true);
        IF length(current_setting('test.gone')) > 2 THEN PERFORM pg_sleep(300); END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER linger AFTER DELETE ON openqueue.run_requests DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION linger()"""
"""A transaction that removes more than two runs does not end in time, at its commit."""


async def test_where_it_is_not_known_whether_a_batch_is_gone_it_stays_in_the_archive_and_that_is_the_end(
    engine: Engine, dsn: str, tmp_path: Path
) -> None:
    await ended_late(engine)
    ids = await add_runs(engine.db, OLD, 4)
    await engine.db.execute(LATE_AT_THE_END)
    async with impatient(dsn, "ours") as database:
        with pytest.raises(ConnectionFailed, match="may still have been carried out"):
            await Pruning(database, dsn)(archive=tmp_path / "runs.jsonl.gz")
    assert files(tmp_path) == ["runs.jsonl.gz.partial"]
    assert archived(tmp_path / "runs.jsonl.gz.partial") == sorted(map(str, ids))


@pytest.mark.parametrize(
    ("name", "whose", "batch"),
    [
        ("runs.jsonl.gz", "ours", 100),
        ("runs.parquet", "ours", 6),
        ("runs.jsonl.gz", "the server's", 6),
        ("runs.parquet", "the server's", 100),
    ],
)
async def test_a_month_with_a_run_that_logged_too_much_is_archived_by_fewer_at_a_time(
    engine: Engine, dsn: str, tmp_path: Path, name: str, whose: str, batch: int
) -> None:
    """Of 25 that are read at once the sixteenth takes too long, unless no more than one is read with it."""
    ids = await add_runs(engine.db, OLD, 25)
    heavy = sorted(ids)[15]
    await engine.db.execute(f"""
        DO $$ BEGIN
            EXECUTE replace(pg_get_functiondef('openqueue.archived'::regproc), 'archived', 'archived_alone');
        END $$;
        CREATE OR REPLACE FUNCTION openqueue.archived(id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('test.at', true) IS DISTINCT FROM statement_timestamp()::text THEN
                PERFORM set_config('test.at', statement_timestamp()::text, false);
                PERFORM set_config('test.read', '0', false);
            END IF;
            PERFORM set_config('test.read', (current_setting('test.read')::integer + 1)::text, false);
            IF id = '{heavy}' AND current_setting('test.read')::integer > 2 THEN
                PERFORM pg_sleep(300);
            END IF;
            RETURN openqueue.archived_alone(id);
        END $$""")
    async with impatient(dsn, whose) as database:
        done = await Pruning(database, dsn)(archive=tmp_path / name, batch=batch)
    assert [(one.month, one.waits) for one in done.months] == [(MONTH, None)]
    assert (done.archived, await count(engine)) == (25, 0)
    assert files(tmp_path) == [name]
    assert archived(tmp_path / name) == sorted(map(str, ids))


def test_a_batch_is_as_large_as_its_runs_let_it_be() -> None:
    assert next_size(1000, 0.05, 1000) == 1000
    assert next_size(1000, 5.0, 1000) == 20
    assert next_size(20, 0.3, 1000) == 20
    assert next_size(20, 0.01, 1000) == 40
    assert next_size(1, 9.0, 1000) == 1


async def test_without_a_run_there_is_no_archive(pruning: Pruning, tmp_path: Path) -> None:
    await pruning(archive=tmp_path / "runs.jsonl.gz")
    assert files(tmp_path) == []


async def test_what_was_removed_before_an_interruption_is_in_the_partial_archive(
    engine: Engine, pruning: Pruning, tmp_path: Path
) -> None:
    await ended_late(engine)
    ids = await add_runs(engine.db, OLD, 25)
    path = tmp_path / "runs.jsonl.gz"

    def interrupt(done: Pruned) -> None:
        if done.removed >= 10:
            raise ConnectionFailed("interrupted")

    with pytest.raises(ConnectionFailed):
        await pruning(archive=path, progress=interrupt)
    gone = {str(run) for run in ids} - {
        str(row["id"]) for row in await engine.sql("SELECT id FROM run_requests")
    }
    partial = tmp_path / "runs.jsonl.gz.partial"
    assert {one["id"] for one in lines(partial)} == gone
    assert gone
    with pytest.raises(InvalidOption, match="an earlier one that was interrupted"):
        await pruning(archive=path)


async def test_a_run_is_not_removed_unless_it_was_written(
    engine: Engine, pruning: Pruning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError("disk is full")

    await ended_late(engine)
    await add_runs(engine.db, OLD, 5)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InvalidOption, match="disk is full"):
        await pruning(archive=tmp_path / "runs.jsonl.gz")
    assert await count(engine) == 6


async def test_the_one_who_leads_prunes_by_itself(
    engine: Engine, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openqueue import task
    from tests.support.worker_here import working

    @task(name="nothing")
    async def nothing() -> None: ...

    monkeypatch.setattr("openqueue.cluster.pruner.AFTER_START", 0.0)
    await add_runs(engine.db, OLD, 5)
    async with working(dsn, nothing, retention={"all": "90d"}) as here:
        told = await here.wait_for(HistoryPruned)
    assert told.months == (MONTH,)
    assert await months(engine) == {}
