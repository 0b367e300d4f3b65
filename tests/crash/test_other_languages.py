"""Workers without Python, in bash and in Node: they claim, beat, end and die with the same guarantees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from openqueue.dev.account import server_account
from openqueue.dev.binaries import find_binaries
from tests.engine.calls import Engine
from tests.support.eventually import eventually
from tests.support.transcript import environment
from tests.support.worker_process import WorkerProcess

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SLOW = 90.0  # seconds within which anything happens on a loaded machine


class Worker:
    """An example's worker in a process group of its own; `log` is what it printed."""

    def __init__(self, line: list[str], directory: Path, environ: dict[str, str]) -> None:
        self._log = directory / "worker.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                line,
                cwd=directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def id(self) -> UUID:
        """Its id, once it has said it."""
        await eventually(lambda: "worker " in self.log, timeout=SLOW, what="the worker's id")
        return UUID(self.log.partition("worker ")[2].split()[0])

    def signal(self, number: signal.Signals) -> None:
        """To the worker alone, not to what it has started."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        await eventually(lambda: self._process.poll() is not None, timeout=SLOW, what="its end")
        return int(self._process.returncode)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def left(self) -> list[int]:
        """What it has started and runs on: its session has its number."""
        every = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        return [one for one in every if _session(one) == self._process.pid]


@pytest.fixture
def engine(db: asyncpg.Connection) -> Engine:
    """Another worker, on the test's connection."""
    return Engine(db)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Node, with `pg` beside the example."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("MISSING: node and npm; the example in Node was not run (apt-get install nodejs npm)")
    directory = tmp_path_factory.mktemp("node")
    line = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--fetch-retries=0", "pg@8"]
    try:
        done = subprocess.run(
            line,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        why = (done.stderr[-200:] or f"npm ended with {done.returncode}") if done.returncode else ""
    except subprocess.TimeoutExpired:
        why = "no answer within 100 s"
    if why:
        pytest.skip(f"MISSING: pg from the npm registry; the example in Node was not run: {why}")
    example = shutil.copy(EXAMPLES / "15_worker_in_node.mjs", directory)
    return ["node", str(example)]


@pytest.fixture(scope="session")
def bash() -> list[str]:
    """Bash, and psql in the path."""
    if not shutil.which("bash"):
        pytest.skip("MISSING: bash; its example was not run")
    return ["bash", str(EXAMPLES / "14_worker_in_bash.sh")]


@pytest.fixture(params=["bash", "node"])
def language(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    """The prefix of its tasks' names, and how it is started."""
    name = {"bash": "shell", "node": "node"}[request.param]
    return name, request.getfixturevalue(request.param)


@contextmanager
def working(line: list[str], dsn: str, directory: Path) -> Iterator[Worker]:
    """A worker of an example beside the body."""
    psql = shutil.which("psql") or str(find_binaries(server_account()).directory / "psql")
    path = f"{Path(psql).parent}{os.pathsep}{os.environ['PATH']}"
    worker = Worker(line, directory, environment(OPENQUEUE_DATABASE_URL=dsn, LEASE="3", PATH=path))
    try:
        yield worker
    except BaseException:
        print(worker.log)
        raise
    finally:
        worker.end()


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:  # it has ended, or is somebody else's
        return None


async def status(engine: Engine, run: UUID, *wanted: str) -> str:
    """The run's status, once it is one of these."""

    async def look() -> str | None:
        found = await engine.status(run)
        return found if found in wanted else None

    return str(await eventually(look, timeout=SLOW, every=0.1, what=f"{run} is {wanted}"))


async def test_it_runs_jobs_fails_them_by_policy_and_leaves_in_good_order(
    language: tuple[str, list[str]], dsn: str, engine: Engine, db: asyncpg.Connection, tmp_path: Path
) -> None:
    name, line = language
    done = await engine.add_one(task=f"{name}.shout", payload={"text": 'it\'s | "done" $(x) `y` ü\\'})
    failed = await engine.add_one(task=f"{name}.fail", payload={"what": "it's"}, max_attempts=1)
    again = await engine.add_one(task=f"{name}.fail", payload={"what": "bread"})
    with working(line, dsn, tmp_path) as worker:
        identity = await worker.id()
        await status(engine, done, "completed")
        await status(engine, failed, "failed")
        await status(engine, again, "retrying")
        held = await engine.add_one(task=f"{name}.nap", payload={"seconds": 600})
        await status(engine, held, "running")
        assert await db.fetchval("SELECT worker FROM openqueue.runs WHERE id = $1", held) == identity
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0
    assert 'IT\'S | "DONE" $(X) `Y`' in (await engine.run(done))["output"]
    assert "there is no it's" in (await engine.run(failed))["error"]["message"]
    assert (await engine.run(again))["error"]["retryable"] is True
    assert await engine.status(held) == "queued"
    assert (await engine.run(held))["attempt"] == 0
    assert await db.fetchval("SELECT count(*) FROM openqueue.workers") == 0


CLAIMING = """
    CREATE FUNCTION hold_on() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(4242); RETURN new; END';
    CREATE TRIGGER hold_on BEFORE INSERT ON openqueue.claims FOR EACH ROW EXECUTE FUNCTION hold_on();
    SELECT pg_advisory_lock(4242)"""
WAITS = """
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4242 AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"""


async def test_told_to_leave_while_it_claims_it_gives_back_what_the_claim_brings(
    language: tuple[str, list[str]], dsn: str, engine: Engine, db: asyncpg.Connection, tmp_path: Path
) -> None:
    name, line = language
    with working(line, dsn, tmp_path) as worker:
        await worker.id()
        await db.execute(CLAIMING)
        held = await engine.add_one(task=f"{name}.nap", payload={"seconds": 600})
        await eventually(lambda: db.fetchval(WAITS), timeout=SLOW, what="a claim under way")
        worker.signal(signal.SIGTERM)
        await db.execute("SELECT pg_advisory_unlock(4242)")
        assert await worker.ended() == 0
    await status(engine, held, "queued")


async def test_a_cancelled_run_is_stopped(
    language: tuple[str, list[str]], dsn: str, engine: Engine, tmp_path: Path
) -> None:
    name, line = language
    run = await engine.add_one(task=f"{name}.nap", payload={"seconds": 600})
    with working(line, dsn, tmp_path):
        await status(engine, run, "running")
        assert [list(row.values()) for row in await engine.sql("SELECT cancel_run($1, 'enough')", run)] == [
            ["cancelling"]
        ]
        await status(engine, run, "cancelled")
    assert (await engine.run(run))["error"]["message"] == "enough"


async def test_the_job_of_one_that_was_killed_is_done_by_another_uncounted_and_its_late_end_refused(
    language: tuple[str, list[str]], dsn: str, engine: Engine, tmp_path: Path
) -> None:
    """The one that finds it dead is a worker in Python, which does not know the task: any other will do."""
    name, line = language
    run = await engine.add_one(task=f"{name}.nap", payload={"seconds": 600})
    async with WorkerProcess(dsn, name="python") as python:
        await python.started()
        with working(line, dsn, tmp_path) as worker:
            victim = await worker.id()
            await status(engine, run, "running")
            (claim,) = [row["claim"] for row in await engine.sql("SELECT claim FROM jobs WHERE id = $1", run)]
            worker.signal(signal.SIGKILL)
            assert await worker.ended() == -signal.SIGKILL
            await python.wait_for("RunRescued", run_id=str(run), timeout=SLOW)
    (heir,) = await engine.sql("SELECT start_worker('heir') AS id")
    (job,) = await engine.sql("SELECT * FROM get_job($1, $2)", heir["id"], [f"{name}.nap"])
    assert (job["id"], job["attempt"], json.loads(job["payload"])) == (run, 1, {"seconds": 600})
    for late in ("complete_job($1, $2, $3)", "fail_job($1, $2, $3)", "extend_claim($1, $2, $3)"):
        assert [row[0] for row in await engine.sql(f"SELECT {late}", victim, run, claim)] == ["lost"]
    (done,) = await engine.sql("SELECT complete_job($1, $2, $3, '1')", heir["id"], run, job["claim"])
    assert (done[0], await engine.status(run)) == ("applied", "completed")
    outcomes = [(row["outcome"], row["worker"]) for row in await engine.call("run_attempts", run)]
    assert outcomes == [("lost", victim), ("completed", heir["id"])]


async def test_it_rescues_what_another_held(
    language: tuple[str, list[str]], dsn: str, engine: Engine, tmp_path: Path
) -> None:
    name, line = language
    run = await engine.add_one(task=f"{name}.shout", payload={"text": "x"})
    (victim,) = await engine.sql("SELECT start_worker('victim', lease => '2 seconds') AS id")
    (job,) = await engine.sql("SELECT * FROM get_job($1)", victim["id"])
    with working(line, dsn, tmp_path):
        await status(engine, run, "completed")
    outcomes = [row["outcome"] for row in await engine.call("run_attempts", run)]
    assert (job["id"], outcomes) == (run, ["lost", "completed"])


async def test_one_in_bash_that_is_killed_while_there_is_no_server_leaves_nobody_behind_who_asks_again(
    bash: list[str], tmp_path: Path
) -> None:
    with working(bash, "postgresql://nobody@127.0.0.1:1/nothing", tmp_path) as worker:
        await eventually(lambda: "refused" in worker.log, timeout=SLOW, what="it has asked once")
        assert len(worker.left()) > 1
        worker.signal(signal.SIGKILL)
        assert await worker.ended() == -signal.SIGKILL
        await eventually(lambda: not worker.left(), timeout=SLOW, every=0.2, what="nobody is left")
