"""`openqueue bench`: what it measures is there, and nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

import openqueue
from openqueue.bench.report import SCENARIOS, Options, percentile
from openqueue.bench.run import bench
from openqueue.bench.schemas import remove_abandoned, temporary_schema
from openqueue.settings import load_settings
from openqueue.testing.databases import with_database
from tests.support.command import Command
from tests.support.eventually import eventually

SMALL = ("bench", "--jobs", "200", "--seconds", "0.3")
LONG = ("bench", "--scenario", "latency", "--seconds", "60")
LEFT = """SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'openqueue%' ORDER BY 1"""
WORKING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"


@pytest.fixture
def plain(bare: Command, empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line on a database that openqueue was never in."""
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", empty_dsn)
    return Command(bare.project, empty_dsn, bare._capsys)


@pytest.fixture
async def look(empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close(timeout=60)


async def left(look: asyncpg.Connection) -> list[str]:
    return [row["nspname"] for row in await look.fetch(LEFT)]


async def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = await asyncio.to_thread(process.communicate, timeout=240)
    return process.returncode, out, err


async def under_way(look: asyncpg.Connection, process: subprocess.Popen[str]) -> None:
    """A worker of the benchmark is connected."""

    async def working() -> bool:
        assert process.poll() is None
        return bool(await look.fetchval(WORKING, "openqueue listener"))

    await eventually(working, what="a worker of the benchmark")


async def test_every_scenario_is_measured_counted_and_put_away(
    plain: Command, look: asyncpg.Connection
) -> None:
    code, out, err = await ended(plain.start(*SMALL, "--json"))
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert list(report) == ["machine", "server", "options", "results"]
    assert list(report["machine"]) == ["openqueue", "python", "system", "cores"]
    assert list(report["server"]) == ["place", "version", "settings", "round_trip_ms", "commit_ms"]
    assert report["server"]["settings"]["fsync"] == await look.fetchval("SHOW fsync")
    assert report["server"]["settings"]["shared_buffers"] == await look.fetchval("SHOW shared_buffers")
    assert report["server"]["round_trip_ms"] > 0
    assert report["server"]["commit_ms"] > 0
    assert report["options"]["jobs"] == 200
    results = {one["scenario"]: one for one in report["results"]}
    assert list(results) == list(SCENARIOS)
    keys = ["scenario", "jobs", "seconds", "jobs_per_second", "p50_ms", "p95_ms", "p99_ms", "max_ms"]
    assert {tuple(one) for one in results.values()} == {tuple(keys)}
    jobs = {name: one["jobs"] for name, one in results.items()}
    assert {**jobs, "mixed": 0} == {
        "enqueue-many": 200,
        "enqueue": 20,
        "drain": 200,
        "latency": 6,
        "mixed": 0,
    }
    assert jobs["mixed"] >= 100
    for name, one in results.items():
        assert (one["jobs_per_second"] is None) == (name == "latency")
        assert (one["p50_ms"] is None) == (name not in {"enqueue", "latency"})
        if one["p50_ms"] is not None:
            assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"] <= one["max_ms"]
        if one["jobs_per_second"] is not None:
            assert one["jobs_per_second"] == pytest.approx(one["jobs"] / one["seconds"], rel=0.05)
    assert await left(look) == []


async def test_people_get_a_table_and_its_meaning_and_runs_of_theirs_are_not_touched(
    oq: Command, db: asyncpg.Connection
) -> None:
    await db.execute("SELECT openqueue.add_job('post.send', '{\"to\": \"Ada\"}', queue_name => 'bench')")
    code, out, err = await ended(oq.start(*SMALL, "--scenario", "drain", "--workers", "2"))
    assert (code, err) == (0, "")
    assert "2 worker processes, 100 tasks each" in out
    assert "drain:" in out
    assert "latency:" not in out
    assert await db.fetchval("SELECT array_agg(task) FROM openqueue.jobs") == ["post.send"]
    assert await left(db) == ["openqueue"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"]
)
async def test_an_interrupted_benchmark_puts_everything_away(
    plain: Command, look: asyncpg.Connection, number: signal.Signals, code: int
) -> None:
    process = plain.start(*LONG)
    await under_way(look, process)
    assert len(await left(look)) == 1
    process.send_signal(number)
    answer, out, err = await ended(process)
    assert (answer, out) == (code, "")
    assert "Putting everything away" in err
    assert "Traceback" not in err
    assert await left(look) == []
    await eventually(lambda: gone(look), what="its worker is gone")


async def gone(look: asyncpg.Connection) -> bool:
    return not await look.fetchval(WORKING, "openqueue listener")


async def test_what_a_killed_benchmark_leaves_is_named_and_removed_by_the_next(
    plain: Command, look: asyncpg.Connection
) -> None:
    process = plain.start(*LONG)
    await under_way(look, process)
    (schema,) = await left(look)
    process.kill()
    await ended(process)
    assert await left(look) == [schema]

    async def is_free() -> bool:
        held = (
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory'"
        )
        return not await look.fetchval(held + " AND datname = current_database()")

    await eventually(is_free, what="nobody holds the schema, and its worker has ended")
    code, _, err = await ended(plain.start(*SMALL, "--scenario", "enqueue"))
    assert (code, err) == (0, f"Schema {schema}, left by a benchmark that was killed, is removed.\n")
    assert await left(look) == []


async def test_a_schema_that_is_in_use_or_bears_no_mark_is_left_alone(
    empty_dsn: str, look: asyncpg.Connection
) -> None:
    await look.execute("CREATE SCHEMA openqueue_bench_0123456789ab")
    await look.execute("CREATE SCHEMA openqueue_bench_mine")
    await look.execute("COMMENT ON SCHEMA openqueue_bench_mine IS 'openqueue bench'")
    async with temporary_schema(empty_dsn, print) as schema:
        assert await remove_abandoned(empty_dsn, print) == []
        assert await left(look) == sorted(["openqueue_bench_0123456789ab", "openqueue_bench_mine", schema])
    assert await left(look) == ["openqueue_bench_0123456789ab", "openqueue_bench_mine"]


async def test_a_failure_within_leaves_no_schema(empty_dsn: str, look: asyncpg.Connection) -> None:
    with pytest.raises(ZeroDivisionError):
        async with temporary_schema(empty_dsn, print):
            raise ZeroDivisionError
    assert await left(look) == []


async def test_a_missing_right_is_named_with_the_statement_that_grants_it(
    plain: Command, empty_dsn: str, look: asyncpg.Connection
) -> None:
    role = f"reader-{uuid4().hex[:8]}"
    database = await look.fetchval("SELECT current_database()")
    await look.execute(f'CREATE ROLE "{role}" LOGIN')
    try:
        url = with_database(empty_dsn, database).replace("postgres@", f"{role}@", 1)
        answer = await asyncio.to_thread(plain.run, "bench", OPENQUEUE_DATABASE_URL=url)
        assert answer.code == 4
        assert f'GRANT CREATE ON DATABASE {database} TO "{role}";' in answer.err
        assert "Traceback" not in answer.err
    finally:
        await look.execute(f'DROP ROLE "{role}"')


async def test_a_server_that_is_read_only_is_named_and_nothing_is_said_to_be_left_there(
    plain: Command, empty_dsn: str, look: asyncpg.Connection
) -> None:
    role = f"reader_{uuid4().hex[:8]}"
    database = await look.fetchval("SELECT current_database()")
    await look.execute(f"CREATE ROLE {role} LOGIN")
    await look.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    await look.execute(f"GRANT CREATE ON DATABASE {database} TO {role}")
    try:
        url = with_database(empty_dsn, database).replace("postgres@", f"{role}@", 1)
        answer = await asyncio.to_thread(plain.run, "bench", OPENQUEUE_DATABASE_URL=url)
        assert answer.code == 4
        assert "it is read-only" in answer.err
        assert "could not be dropped" not in answer.err
    finally:
        await look.execute(f"REVOKE CREATE ON DATABASE {database} FROM {role}")
        await look.execute(f"DROP ROLE {role}")


async def test_a_scenario_that_has_ended_is_shown_as_done(empty_dsn: str) -> None:
    shares: dict[str, list[float]] = {}

    def begin(name: str) -> Callable[[float], None]:
        return shares.setdefault(name, []).append

    options = Options(("enqueue-many", "enqueue"), jobs=100)
    await bench(load_settings(database_url=empty_dsn), options, tell=print, begin=begin)
    assert [shares[name][-1] for name in options.scenarios] == [1.0, 1.0]


def test_without_a_database_it_says_what_to_set(bare: Command) -> None:
    answer = bare("bench")
    assert answer.code == 3
    assert "OPENQUEUE_DATABASE_URL" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "drian"], "--scenario: there is no 'drian'. Did you mean 'drain'?"),
        (["--jobs", "0"], "--jobs"),
        (["--workers", "none"], "--workers"),
        (["--concurrency", "0"], "--concurrency: '0' is not a whole number"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_a_database_is_asked_for(
    bare: Command, arguments: list[str], said: str
) -> None:
    answer = bare("bench", *arguments)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize("colour", [True, False], ids=["colours", "NO_COLOR"])
def test_bars_are_shown_on_a_terminal_only(plain: Command, colour: bool) -> None:
    """The other tests have none: standard error is empty there."""
    ours, theirs = pty.openpty()
    home = str(Path(openqueue.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": home, "TERM": "xterm", "NO_COLOR": "" if colour else "1"}
    command = [sys.executable, "-m", "openqueue", *SMALL, "--scenario", "enqueue"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    assert process.wait(240) == 0
    assert b"enqueue" in shown
    assert (b"\x1b[3" in shown) == colour


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 5), (0.9, 9), (0.95, 10), (0.99, 10), (1.0, 10), (0.01, 1)]
)
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile([7, 3, 1, 9, 10, 2, 8, 4, 6, 5], share) == value
