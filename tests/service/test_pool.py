"""The process's connections: time limits, retries, and errors that say where and what to do."""

import asyncio
import json
import random
from contextlib import AsyncExitStack, suppress
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from openqueue.db.connections import adapt
from openqueue.db.events import StatementRetried
from openqueue.db.pool import Database
from openqueue.db.target import Place, place_of
from openqueue.errors import ConnectionFailed, InvalidOption, OpenQueueError, SchemaError
from openqueue.events import Event
from tests.support.eventually import eventually
from tests.support.wire import Wire

SLEEPING = """SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = $1 AND wait_event = 'PgSleep'
      AND query LIKE '%pg_sleep(60%'"""
WAITING = """SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = $1 AND wait_event_type = 'Lock'"""


async def place(dsn: str) -> Place:
    connection = await asyncpg.connect(dsn)
    await connection.close()
    return place_of(connection)


async def test_rows_come_back_and_json_passes_as_text_in_both_directions(empty_dsn: str) -> None:
    document = json.dumps({"ü": [1, None, "\\", "\x7f"]}, ensure_ascii=False)
    async with Database(empty_dsn) as database:
        row = await database.fetchrow(
            "SELECT $1::jsonb AS one, $2::jsonb[] AS many", document, [document, None]
        )
        assert row is not None
        assert json.loads(row["one"]) == json.loads(document)
        assert [item and json.loads(item) for item in row["many"]] == [json.loads(document), None]


async def test_arrays_of_ids_small_numbers_and_times_are_parameters(empty_dsn: str) -> None:
    ids = [uuid4() for _ in range(3)]
    async with Database(empty_dsn) as database:
        rows = await database.fetch(
            "SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[], $4::float8[]) AS t",
            ids,
            [-32768, 0, None],
            [None] * 3,
            [0.1, None, 2.0],
        )
    assert [tuple(row) for row in rows] == [
        (ids[0], -32768, None, 0.1),
        (ids[1], 0, None, None),
        (ids[2], None, None, 2.0),
    ]


async def test_statements_are_called_by_name_and_an_unknown_one_offers_the_nearest(empty_dsn: str) -> None:
    async with Database(empty_dsn) as database:
        assert await database.fetchval("listener_ping") == 1
        assert await database.execute("listener_ping") == "SELECT 1"
        with pytest.raises(KeyError, match="Did you mean 'listener_ping'"):
            await database.fetch("listener_pong")


async def test_no_more_connections_than_allowed_are_opened_and_none_is_reset(empty_dsn: str) -> None:
    async with Database(empty_dsn, max_size=2, application="counted") as database:
        async with database.connection(), database.connection():
            pass
        await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.01)") for _ in range(20)))
        rows = await database.fetch(
            "SELECT query FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'counted'"
        )
        assert len(rows) == 2
        assert not [row for row in rows if "UNLISTEN" in row["query"]]


async def test_a_statement_that_takes_too_long_is_cancelled_with_an_error_that_says_so(
    empty_dsn: str,
) -> None:
    async with Database(empty_dsn, max_size=1) as database:
        with pytest.raises(ConnectionFailed, match=r"No answer from database .* within 0\.1 s"):
            await database.fetch("SELECT pg_sleep(60)", timeout=0.1)
        assert await database.fetchval("SELECT 1 + 1") == 2


async def test_waiting_for_a_connection_ends_in_bounded_time(empty_dsn: str) -> None:
    async with Database(empty_dsn, max_size=1) as database, database.connection():
        with pytest.raises(ConnectionFailed, match="No answer"):
            await database.fetchval("SELECT 1 + 1", timeout=0.05)


async def test_a_deadlock_is_tried_again_and_told(empty_dsn: str) -> None:
    told: list[Event] = []
    async with Database(empty_dsn, emit=told.append) as database:
        await database.execute("CREATE TABLE rows AS SELECT n, 0 AS hits FROM generate_series(1, 2) n")
        await database.execute(
            "CREATE FUNCTION hit(a int, b int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN "
            "UPDATE rows SET hits = hits + 1 WHERE n = a; PERFORM pg_advisory_lock_shared(a); "
            "WHILE (SELECT count(DISTINCT objid) FROM pg_locks JOIN pg_database d ON d.oid = database "
            "WHERE datname = current_database() AND locktype = 'advisory') < 2 "
            "LOOP PERFORM pg_sleep(0.01); END LOOP; "
            "UPDATE rows SET hits = hits + 1 WHERE n = b; END $$"
        )
        await asyncio.gather(database.fetch("SELECT hit(1, 2)"), database.fetch("SELECT hit(2, 1)"))
        assert await database.fetchval("SELECT sum(hits) FROM rows") == 4
    assert [type(event) for event in told] == [StatementRetried]


async def test_a_serialization_failure_is_given_up_after_a_few_tries(empty_dsn: str) -> None:
    told: list[Event] = []
    async with Database(empty_dsn, emit=told.append) as database:
        with pytest.raises(OpenQueueError, match="40001"):
            await database.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")
    assert len(told) == 4


async def test_a_missing_schema_says_which_command_helps(empty_dsn: str) -> None:
    async with Database(empty_dsn, schema="my queue") as database:
        with pytest.raises(SchemaError, match=r"'my queue' .*openqueue migrate"):
            await database.fetch('SELECT * FROM "my queue".jobs')
        with pytest.raises(SchemaError, match=r"openqueue migrate"):
            await database.fetch('SELECT "my queue".claim_jobs()')


async def test_a_refusal_by_the_engine_names_the_option(empty_dsn: str) -> None:
    async with Database(empty_dsn) as database:
        with pytest.raises(InvalidOption, match=r"delay is -1 seconds: not negative") as caught:
            await database.execute(
                "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '22023', COLUMN = 'delay', "
                "MESSAGE = 'delay is -1 seconds', HINT = 'not negative'; END $$"
            )
    assert caught.value.option == "delay"


async def test_connections_that_the_server_ended_are_replaced(empty_dsn: str) -> None:
    other = await asyncpg.connect(empty_dsn)
    async with Database(empty_dsn, application="victim") as database:
        task = asyncio.create_task(database.fetch("SELECT pg_sleep(60)"))
        pid = None
        while pid is None:
            pid = await other.fetchval(SLEEPING, "victim")
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(ConnectionFailed, match="was ended"):
            await task
        assert await database.fetchval("SELECT 1 + 1") == 2
    await other.close()


async def test_closing_waits_for_what_runs(empty_dsn: str) -> None:
    database = await Database(empty_dsn, application="closing").open()
    other = await asyncpg.connect(empty_dsn)
    await other.execute("SELECT pg_advisory_lock(1)")
    waits = asyncio.create_task(database.fetchval("SELECT 1 FROM pg_advisory_lock_shared(1)"))
    await eventually(lambda: other.fetchval(WAITING, "closing"), what="it runs")
    closing = asyncio.create_task(database.close(timeout=3600))
    await eventually(lambda: refuses(database), what="it is being closed")
    assert not closing.done()
    await other.execute("SELECT pg_advisory_unlock(1)")
    assert await waits == 1
    await closing
    await other.close()


async def refuses(database: Database) -> bool:
    with suppress(ConnectionFailed):
        return not await database.fetchval("SELECT 1 + 1")
    return True


async def test_closing_does_not_wait_for_ever(empty_dsn: str) -> None:
    database = await Database(empty_dsn, application="closing").open()
    other = await asyncpg.connect(empty_dsn)
    slow = asyncio.create_task(database.fetchval("SELECT 1 FROM pg_sleep(600)"))
    await eventually(lambda: other.fetchval(SLEEPING, "closing"), what="it runs")
    await database.close(timeout=0.1)
    with pytest.raises(ConnectionFailed):
        await slow
    assert await refuses(database)
    await other.close()


async def test_a_transaction_commits_at_its_end_and_not_after_an_error(empty_dsn: str) -> None:
    async with Database(empty_dsn) as database:
        await database.execute("CREATE TABLE t (n int)")
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (1)")

        async def fail() -> None:
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO t VALUES (2)")
                await connection.execute("SELECT 1 / 0")

        with pytest.raises(OpenQueueError, match="division by zero"):
            await fail()
        assert await database.fetchval("SELECT sum(n) FROM t") == 1


async def test_who_is_connected_is_named_and_the_url_has_the_last_word(empty_dsn: str) -> None:
    async with Database(empty_dsn, application="openqueue worker 1") as database:
        assert await database.fetchval("SHOW application_name") == "openqueue worker 1"
    parts = urlsplit(empty_dsn)
    query = "&".join(
        filter(None, [parts.query, "application_name=shop", "connect_timeout=60", "keepalives=1"])
    )
    async with Database(urlunsplit(parts._replace(query=query))) as database:
        assert await database.fetchval("SHOW application_name") == "shop"


async def test_a_network_that_swallows_everything_costs_bounded_time_and_one_connection(
    empty_dsn: str,
) -> None:
    other = await asyncpg.connect(empty_dsn)
    async with Wire(other).laid() as wire, Database(wire.dsn, max_size=1, timeout=60) as database:
        assert await database.fetchval("SELECT 1 + 1") == 2
        wire.cut = True
        with pytest.raises(ConnectionFailed, match="No answer"):
            await database.fetchval("SELECT 1 + 1", timeout=0.5)
        wire.cut = False
        assert await database.fetchval("SELECT 1 + 1") == 2
    await other.close()


async def test_after_an_answer_that_did_not_come_no_connection_of_before_is_used_again(
    empty_dsn: str,
) -> None:
    other = await asyncpg.connect(empty_dsn)
    async with Wire(other).laid() as wire, Database(wire.dsn, max_size=3, timeout=60) as database:

        async def three_at_once() -> None:
            async with database.connection(), database.connection(), database.connection():
                pass

        await three_at_once()
        assert wire.opened == 3
        wire.cut = True
        with pytest.raises(ConnectionFailed, match="No answer"):
            await database.fetchval("SELECT 1 + 1", timeout=0.5)
        wire.cut = False
        before = wire.opened
        await three_at_once()
        assert wire.opened == before + 3, (
            "what is idle may lead nowhere, too: each would cost a whole timeout"
        )
    await other.close()


async def refused(dsn: str) -> str:
    """What is said when the database cannot be opened."""
    with pytest.raises(ConnectionFailed) as caught:
        await Database(dsn, timeout=60).open()
    return str(caught.value)


async def test_a_database_that_does_not_exist_is_named(empty_dsn: str) -> None:
    said = await refused(urlunsplit(urlsplit(empty_dsn)._replace(path="/no_such")))
    assert "no such database" in said
    assert "'no_such'" in said


async def test_a_server_that_is_not_there_is_named() -> None:
    said = await refused("postgresql://me:hidden@127.0.0.1:1/shop")
    assert "Cannot reach database 'shop' on 127.0.0.1:1 as user 'me'" in said
    assert "hidden" not in said


async def test_a_socket_that_is_not_there_is_named() -> None:
    assert "socket /nowhere" in await refused("postgresql://me@/shop?host=/nowhere")


async def test_a_host_that_has_no_address_is_named() -> None:
    assert "nohost.invalid" in await refused("postgresql://me@nohost.invalid/shop")


async def test_a_wrong_password_is_said_and_never_shown(empty_dsn: str) -> None:
    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
        writer.write(b"E" + (4 + len(fields)).to_bytes(4) + fields)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    said = await refused(f"postgresql://me:{quote('hid/den', safe='')}@127.0.0.1:{port}/shop?sslmode=disable")
    assert "password was refused" in said
    assert "hid" not in said
    server.close()


async def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    silent = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionFailed, match=r"within 0\.2 s"):
        await Database(f"postgresql://me@127.0.0.1:{port}/shop?sslmode=disable", timeout=0.2).open()
    silent.set()
    server.close()


async def at_hosts(dsn: str, here: bool) -> str:
    """A URL with two hosts: the second is the server, the first is it too, or is not there."""
    parts, there = urlsplit(dsn), await place(dsn)
    user = parts.netloc.rpartition("@")[0] or there.user
    if there.hosts[0].startswith("socket "):
        directory, _, port = there.hosts[0].removeprefix("socket ").rpartition("/.s.PGSQL.")
        hosts = f"{directory if here else '/nowhere'},{directory}"
        return f"postgresql://{user}@/{there.database}?host={hosts}&port={port}"
    hosts = f"{there.hosts[0] if here else '127.0.0.1:1'},{there.hosts[0]}"
    return urlunsplit(parts._replace(netloc=f"{user}@{hosts}"))


async def test_of_several_hosts_the_one_that_takes_writes_is_used(empty_dsn: str) -> None:
    dsn = await at_hosts(empty_dsn, here=False)
    async with Database(dsn) as database:
        name = await database.fetchval("SELECT current_database()")
        await database.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert "one must take writes" in await refused(dsn)
    assert "No server of" in await refused(await at_hosts(empty_dsn, here=True))


async def test_a_read_only_database_is_said_at_the_first_write(empty_dsn: str) -> None:
    name = urlsplit(empty_dsn).path[1:]
    async with Database(empty_dsn) as database:
        await database.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with Database(empty_dsn) as database:
        assert await database.fetchval("SELECT 1 + 1") == 2
        with pytest.raises(ConnectionFailed, match=r"read-only.*URL of the primary"):
            await database.execute("CREATE TABLE t ()")


async def test_after_a_failover_the_connections_are_made_anew(empty_dsn: str) -> None:
    async with Database(empty_dsn, max_size=1) as database:
        await database.execute("SET default_transaction_read_only = on")  # as if this server were demoted
        with pytest.raises(ConnectionFailed, match="read-only"):
            await database.execute("CREATE TABLE t ()")
        await database.execute("CREATE TABLE t ()")


async def test_the_callers_connection_runs_statements_in_its_transaction(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute("CREATE TABLE t (n int)")
    transaction = connection.transaction()
    await transaction.start()
    executor = adapt(connection)
    rows = await executor.fetch("INSERT INTO t VALUES ($1) RETURNING n", 7)
    assert rows[0]["n"] == 7
    await transaction.rollback()
    assert await connection.fetchval("SELECT count(*) FROM t") == 0
    await connection.close()


async def test_codecs_of_the_application_do_not_touch_ours(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    rows = await adapt(connection).fetch("SELECT $1::jsonb AS one, jsonb_typeof($1) AS kind", '{"a": 1}')
    assert tuple(rows[0].values()) == ('{"a": 1}', "object")
    assert await connection.fetchval("SELECT $1::jsonb", {"a": 1}) == {"a": 1}
    await connection.close()


async def test_a_statement_on_the_callers_connection_ends_within_its_time(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    with pytest.raises(ConnectionFailed, match=r"within 0\.1 s"):
        await adapt(connection, timeout=0.1).fetch("SELECT pg_sleep(60)")
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_the_callers_pool_and_a_connection_of_it_are_taken(empty_dsn: str) -> None:
    async with asyncpg.create_pool(empty_dsn, min_size=0, max_size=1) as pool:
        assert (await adapt(pool).fetch("SELECT 1 AS one"))[0]["one"] == 1
        async with pool.acquire() as connection:
            assert (await adapt(connection).fetch("SELECT 2 AS two"))[0]["two"] == 2
        with pytest.raises(ConnectionFailed, match="given back to its pool"):
            adapt(connection)
    with pytest.raises(ConnectionFailed, match="the pool is closed"):
        adapt(pool)


async def test_a_closed_or_failed_connection_of_the_caller_is_said_to_be_so(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)
    transaction = connection.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.execute("SELECT 1 / 0")
    with pytest.raises(ConnectionFailed, match=r"already failed.*Roll it back"):
        await adapt(connection).fetch("SELECT 1")
    await transaction.rollback()
    await connection.close()
    with pytest.raises(ConnectionFailed, match="the connection is closed"):
        adapt(connection)


async def test_a_connection_of_another_event_loop_is_refused(empty_dsn: str) -> None:
    connection = await asyncpg.connect(empty_dsn)

    async def elsewhere() -> None:
        adapt(connection)

    with pytest.raises(ConnectionFailed, match="another event loop"):
        await asyncio.to_thread(asyncio.run, elsewhere())
    await connection.close()


@pytest.mark.parametrize("thing", [None, "postgresql://", object(), random.Random()])
async def test_anything_else_as_a_connection_is_refused_naming_what_is_taken(thing: object) -> None:
    with pytest.raises(InvalidOption, match=r"connection: .* is not supported\. Pass an asyncpg Connection"):
        adapt(thing)


async def test_connections_that_nobody_uses_go_and_come_again(empty_dsn: str) -> None:
    count = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'openqueue idle'"
    )
    watcher = await asyncpg.connect(empty_dsn)
    async with Database(empty_dsn, application="openqueue idle", idle=0.2) as database, asyncio.timeout(60):
        async with AsyncExitStack() as stack:
            used = [await stack.enter_async_context(database.connection()) for _ in range(4)]
            assert len({await one.fetchval("SELECT pg_backend_pid()") for one in used}) == 4
        while await watcher.fetchval(count):  # noqa: ASYNC110  the server says when they have gone
            await asyncio.sleep(0.02)
        assert await database.fetchval("SELECT 1") == 1
    await watcher.close()
