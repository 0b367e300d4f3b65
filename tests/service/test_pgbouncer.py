"""Through PgBouncer in transaction mode: everything works, and nothing is left in sessions of others."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import openqueue
from openqueue import Context, RunCancelled, task
from openqueue.cluster.events import RunRescued
from openqueue.db.events import ListenerAbsent, ListenerConnected, ListenerLost
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.db.target import Target, connect
from openqueue.errors import ConnectionFailed
from openqueue.events import Event
from openqueue.service import running
from openqueue.settings import load_settings
from openqueue.worker.events import RunFinished, RunStarted
from tests.support.bouncer import MISSING, PREPARES, PROGRAM, TOO_OLD, Bouncer, bouncer_version
from tests.support.command import Command
from tests.support.drivers import ask
from tests.support.eventually import eventually
from tests.support.transcript import blocks
from tests.support.worker_here import working
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)

ROOT = Path(__file__).resolve().parents[2]
SESSIONS = 4
OWN = ["application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"]
"""What PgBouncer itself sets in a session, for each client anew."""

HINT = r'Set pooler = "transaction".*listen_dsn'
POOLED: dict[str, Any] = {"pooler": "transaction", "statement_timeout": "2m"}


@task(name="double", backoff="50ms")
async def double(number: int, *, ctx: Context = Context.injected) -> int:
    ctx.log.info("doubling", number=number)
    return 2 * number


@task(name="fail_once", backoff="50ms")
def fail_once(*, ctx: Context = Context.injected) -> int:
    if ctx.attempt == 1:
        raise ValueError("the first time")
    return ctx.attempt


@task(name="wait")
async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pytest.fixture
def bouncer(dsn: str) -> Iterator[Bouncer]:
    with Bouncer.before(dsn, sessions=SESSIONS) as found:
        yield found


@asynccontextmanager
async def every_session(bouncer: Bouncer) -> AsyncIterator[list[Any]]:
    """A connection through each of its sessions: all are in a transaction, so no two share one."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(SESSIONS):
            opened.append(await connect(Target.of(bouncer.dsn, pooled=True)))
            stack.push_async_callback(opened[-1].close)
            await stack.enter_async_context(opened[-1].transaction())
        yield opened


@pytest.fixture
async def left_behind(bouncer: Bouncer) -> AsyncIterator[None]:
    """At the end of the test, no session of PgBouncer's has anything of ours in it."""
    yield
    async with every_session(bouncer) as sessions:
        assert len({await one.fetchval("SELECT pg_backend_pid()") for one in sessions}) == SESSIONS
        for through in sessions:
            found = await through.fetchrow(
                """SELECT (SELECT string_agg(c, ' ') FROM pg_listening_channels() c) AS channels,
                    (SELECT string_agg(name, ' ') FROM pg_prepared_statements WHERE name <> '') AS prepared,
                    (SELECT string_agg(objid::text, ' ') FROM pg_locks
                     WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
                    (SELECT string_agg(relname, ' ') FROM pg_class WHERE relpersistence = 't') AS temporary,
                    (SELECT string_agg(name || '=' || setting, ' ') FROM pg_settings
                     WHERE source = 'session' AND name <> ALL ($1::text[])) AS settings""",
                OWN,
            )
            assert dict(found) == dict.fromkeys(found.keys())


async def everything_works() -> None:
    """What a program asks of its client and its worker."""
    runs = await openqueue.enqueue_many([double.item(number) for number in range(200)])
    assert [await run.result(timeout="60s") for run in runs] == [2 * number for number in range(200)]
    assert await (await fail_once.enqueue()).result(timeout="60s") == 2
    run = await double.options(delay="200ms", key="k", meta={"a": [1]}, tags=["t"]).enqueue(4)
    assert await run.result(timeout="60s") == 8
    assert [event.event for event in await run.events()][-1] == "completed"


@pytest.mark.usefixtures("left_behind")
async def test_O3_client_and_worker_work_through_it_and_leave_nothing_in_its_sessions(
    bouncer: Bouncer, dsn: str
) -> None:
    settings = {**POOLED, "listen_dsn": dsn}
    async with (
        openqueue.connect(bouncer.dsn, **settings) as client,
        working(bouncer.dsn, double, fail_once, wait, **settings) as here,
    ):
        assert here.heard(ListenerConnected)
        await everything_works()
        before = len(here.heard(RunStarted))
        run = await wait.enqueue(60)
        await here.wait_for(RunStarted, count=before + 1)
        assert await client.cancel(run.id, "enough") == "cancelling"
        with pytest.raises(RunCancelled):
            await run.result(timeout="60s")
        held = (
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        # The liveness lock and the leader's, on sessions of the worker's own.
        await eventually(lambda: ask(dsn, held) == [(2,)], what="two locks")


@pytest.mark.usefixtures("left_behind")
async def test_O3_without_a_way_around_it_polling_alone_works(bouncer: Bouncer, dsn: str) -> None:
    """Nobody holds a liveness lock then: two workers must not take each other for dead."""
    quick = {**POOLED, "poll_interval": "100ms"}
    async with (
        openqueue.connect(bouncer.dsn, **POOLED),
        working(bouncer.dsn, double, fail_once, wait, **quick) as one,
        working(bouncer.dsn, double, fail_once, wait, **quick) as other,
    ):
        (absent,) = one.heard(ListenerAbsent)
        assert "listen_dsn" in absent.why
        long = [await wait.enqueue(7) for _ in range(2)]
        await everything_works()
        for run in long:
            await run.result(timeout="60s")
            assert (await run.info()).attempt == 1
        assert not one.heard(RunRescued)
        assert not other.heard(RunRescued)
        assert not one.heard(ListenerLost)


@pytest.mark.usefixtures("left_behind")
async def test_O3_a_worker_that_is_killed_behind_it_is_noticed_without_a_lock_too(
    bouncer: Bouncer, dsn: str
) -> None:
    settings = {**POOLED, "poll_interval": "100ms"}
    async with openqueue.connect(bouncer.dsn, **POOLED) as client:
        run = await client.enqueue("crash.until", {"path": "/nowhere"}, allow_unknown=True)
        async with WorkerProcess(bouncer.dsn, **settings) as victim:
            await victim.wait_for("mark", what="begin")

            @task(name="crash.until")
            async def until(path: str) -> str:
                return "rescued"

            async with working(bouncer.dsn, until, **settings) as here:
                victim.signal(signal.SIGKILL)
                assert await run.result(timeout="60s") == "rescued"
                assert len(here.heard(RunRescued)) == 1


@pytest.mark.usefixtures("left_behind")
async def test_O3_a_restart_under_load_loses_nothing(bouncer: Bouncer, dsn: str) -> None:
    settings = {**POOLED, "listen_dsn": dsn}
    total = 3000
    async with (
        openqueue.connect(dsn) as direct,
        working(bouncer.dsn, double, **{**settings, "statement_timeout": "1s"}, concurrency=20) as here,
    ):
        await direct.enqueue_many([double.item(number) for number in range(total)])
        for _ in range(3):
            await here.wait_for(RunFinished, count=min(len(here.heard(RunFinished)) + 50, total))
            bouncer.restart()
            assert not here.ending.done()
        live = "SELECT count(*) FROM openqueue.jobs"
        await eventually(lambda: ask(dsn, live) == [(0,)], what="all jobs ended")
        ended = (
            "SELECT count(*), count(DISTINCT run_id) FROM openqueue.attempts"
            " WHERE final AND outcome = 'completed'"
        )
        assert ask(dsn, ended) == [(total, total)]


async def test_O3_the_callers_own_connections_through_it_carry_the_job_in_their_transaction(
    bouncer: Bouncer, dsn: str
) -> None:
    def stored() -> int:
        return int(ask(dsn, "SELECT count(*) FROM openqueue.jobs")[0][0])

    async with openqueue.connect(bouncer.dsn, **POOLED):
        mine = await asyncpg.connect(bouncer.dsn, statement_cache_size=0)
        for turn in range(2 * SESSIONS):
            with suppress(ZeroDivisionError):
                async with mine.transaction():
                    await double.options(connection=mine).enqueue(turn)
                    await openqueue.enqueue_many([double.item(turn), double.item(-turn)], connection=mine)
                    assert stored() == turn // 2 * 3 + (turn % 2) * 3
                    if turn % 2:
                        raise ZeroDivisionError
        await mine.close()
        assert stored() == SESSIONS * 3
        with psycopg.connect(bouncer.dsn, prepare_threshold=None) as other:
            for number in range(4 * SESSIONS):
                double.options(connection=other).enqueue_sync(number)
                other.commit()
            double.options(connection=other).enqueue_sync(0)
            other.rollback()
        assert stored() == SESSIONS * 3 + 4 * SESSIONS


NOT_PREPARED: dict[str, dict[str, Any]] = {
    "asyncpg": {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    },
    "psycopg": {"prepare_threshold": None},
}
"""What `docs/pgbouncer.md` says to give as connect_args."""


@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize("driver", NOT_PREPARED)
async def test_O3_an_async_session_of_sqlalchemy_through_it_carries_the_job(
    bouncer: Bouncer, dsn: str, driver: str
) -> None:
    url = bouncer.dsn.replace("postgresql:", f"postgresql+{driver}:")
    engine = create_async_engine(url, connect_args=NOT_PREPARED[driver], pool_size=2)
    async with openqueue.connect(bouncer.dsn, **POOLED):
        for turn in range(4 * SESSIONS):
            async with AsyncSession(engine) as session:
                await double.options(connection=session).enqueue(turn)
                assert (await session.execute(text("SELECT 1"))).scalar() == 1
                await openqueue.enqueue_many([double.item(turn), double.item(-turn)], connection=session)
                await (session.commit() if turn % 2 else session.rollback())
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await openqueue.enqueue_many(map(double.item, range(20_001)), connection=connection)
    await engine.dispose()
    assert ask(dsn, "SELECT count(*) FROM openqueue.jobs") == [(SESSIONS * 6 + 20_001,)]


@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
async def test_O3_a_session_of_sqlalchemy_through_it_carries_the_job(
    bouncer: Bouncer, dsn: str, driver: str
) -> None:
    url = bouncer.dsn.replace("postgresql:", f"postgresql+{driver}:")
    engine = create_engine(url, connect_args=NOT_PREPARED.get(driver, {}), pool_size=2)
    with openqueue.connect_sync(bouncer.dsn, **POOLED):
        for turn in range(4 * SESSIONS):
            with Session(engine) as session:
                double.options(connection=session).enqueue_sync(turn)
                openqueue.enqueue_many_sync([double.item(turn), double.item(-turn)], connection=session)
                (session.commit if turn % 2 else session.rollback)()
    engine.dispose()
    assert ask(dsn, "SELECT count(*) FROM openqueue.jobs") == [(SESSIONS * 6,)]


DJANGO = """
import sys
from contextlib import suppress
import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

url, autocommit = sys.argv[1], sys.argv[2] == "autocommit"
parts = conninfo_to_dict(url)
default = {"ENGINE": "django.db.backends.postgresql", "NAME": parts["dbname"], "HOST": parts["host"],
           "PORT": parts["port"], "USER": parts["user"], "DISABLE_SERVER_SIDE_CURSORS": True}
settings.configure(DATABASES={"default": default}, USE_TZ=True)
django.setup()
from django.db import connection, transaction
import openqueue

@openqueue.task(name="double")
def double(number: int) -> int:
    return 2 * number

with openqueue.connect_sync(url, pooler="transaction", statement_timeout="2m"):
    if autocommit:
        openqueue.enqueue_many_sync(map(double.item, range(20_001)), connection=connection)
    for turn in range(16):
        with suppress(ZeroDivisionError), transaction.atomic():
            double.options(connection=connection).enqueue_sync(turn)
            openqueue.enqueue_many_sync([double.item(turn), double.item(-turn)], connection=connection)
            1 / (turn % 2)
"""


@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize(("mode", "more"), [("atomic", 0), ("autocommit", 20_001)])
async def test_O3_django_through_it_carries_the_job(
    bouncer: Bouncer, dsn: str, mode: str, more: int, tmp_path: Path
) -> None:
    """In a program of its own: a process has one configuration of Django."""
    (tmp_path / "shop.py").write_text(DJANGO)
    done = await asyncio.create_subprocess_exec(
        sys.executable,
        str(tmp_path / "shop.py"),
        bouncer.dsn,
        mode,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    _, said = await done.communicate()
    assert done.returncode == 0, said.decode()
    assert ask(dsn, "SELECT count(*) FROM openqueue.jobs") == [(8 * 3 + more,)]


@pytest.mark.skipif(bouncer_version() < PREPARES, reason=TOO_OLD)
async def test_O3_where_it_keeps_prepared_statements_a_callers_connection_may_prepare(dsn: str) -> None:
    with Bouncer.before(dsn, sessions=SESSIONS, prepared=100) as bouncer:
        async with every_session(bouncer):
            pass
        async with openqueue.connect(bouncer.dsn, **POOLED):
            mine, other = await of_asyncpg(bouncer.dsn), await of_psycopg(bouncer.dsn)
            for number in range(4 * SESSIONS):
                await double.options(connection=mine).enqueue(number)
                await double.options(connection=other).enqueue(number)
            await mine.close()
            await other.close()
            assert ask(dsn, "SELECT count(*) FROM openqueue.jobs") == [(8 * SESSIONS,)]


async def test_without_the_setting_the_first_error_names_what_to_set(bouncer: Bouncer) -> None:
    """Statements that one client prepared are in the way of the next, or not where it looks for them."""

    async def enqueue_on_several() -> None:
        async with openqueue.connect(bouncer.dsn):
            for number in range(2 * SESSIONS):
                await asyncio.gather(*(double.enqueue(number) for _ in range(4)))

    async with every_session(bouncer):
        pass  # from now on there are several, which take turns
    with pytest.raises(ConnectionFailed, match=HINT):
        await enqueue_on_several()


async def of_asyncpg(dsn: str) -> Any:
    return await asyncpg.connect(dsn)


async def of_psycopg(dsn: str) -> Any:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True)


@pytest.mark.parametrize("opener", [of_asyncpg, of_psycopg])
async def test_a_callers_connection_that_prepares_is_told_how_not_to(bouncer: Bouncer, opener: Any) -> None:
    async def enqueue_on(mine: Any) -> None:
        for number in range(4 * SESSIONS):
            await double.options(connection=mine).enqueue(number)

    async with every_session(bouncer):
        pass  # from now on there are several, which take turns
    async with openqueue.connect(bouncer.dsn, **POOLED):
        mine = await opener(bouncer.dsn)
        with pytest.raises(ConnectionFailed, match=r"statement_cache_size=0.*prepare_threshold=None"):
            await enqueue_on(mine)
        await mine.close()


async def test_a_startup_parameter_that_it_refuses_is_named_with_the_remedy(bouncer: Bouncer) -> None:
    url = f"{bouncer.dsn}&statement_timeout=5000"
    with pytest.raises(ConnectionFailed, match=r"statement_timeout.*ignore_startup_parameters.*pooler"):
        async with Database(url, pooled=True):
            raise AssertionError("it was let in")


async def test_a_listener_that_hears_nothing_through_it_names_what_to_set(bouncer: Bouncer) -> None:
    told: asyncio.Queue[Event] = asyncio.Queue()
    async with every_session(bouncer):
        pass  # otherwise LISTEN and NOTIFY would meet in the only one there is
    async with running(Listener(bouncer.dsn, emit=told.put_nowait, timeout=2)):
        lost = await told.get()
        assert isinstance(lost, ListenerLost)
        assert "listen_dsn" in lost.error


def test_O3_the_commands_work_through_it_and_migrate_goes_around_it(
    bouncer: Bouncer, oq: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = oq.url
    assert direct is not None
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", bouncer.dsn)
    monkeypatch.setenv("OPENQUEUE_POOLER", "transaction")
    monkeypatch.setenv("OPENQUEUE_STATEMENT_TIMEOUT", "2m")
    assert oq("migrate").code == 0
    assert oq("enqueue", "post.send", '{"to": "ada"}', "--allow-unknown").code == 0
    assert [run["task"] for run in oq("runs", "list", "--json").json] == ["post.send"]
    monkeypatch.setenv("OPENQUEUE_LISTEN_DSN", direct)
    bouncer.kill()
    assert oq("migrate").code == 0
    assert oq("runs", "list").code == 4


def test_the_settings_that_the_how_to_shows_are_read_as_it_says() -> None:
    (toml,) = (block for block in blocks(ROOT / "docs" / "pgbouncer.md") if block.language == "toml")
    settings = load_settings(**tomllib.loads(toml.text))
    assert (settings.pooler, settings.session_url) == ("transaction", settings.listen_dsn)
