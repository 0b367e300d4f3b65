"""`migrate --roles`: roles are made once, by many at once, and keep their rights through all that follows."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openqueue.db.migrations import migrate
from openqueue.db.quoting import check_schema, quote_ident
from openqueue.db.statements import Statements, render, split
from openqueue.errors import ConfigError, ConnectionFailed
from tests.support.command import Command
from tests.support.own_server import OwnServer
from tests.support.realm import as_user, execute

ROLES = ("enqueue", "worker", "admin")
BODY = re.findall(
    r"FUNCTION :schema\.role_name.*?\$\$(.*?)\$\$",
    (Statements().root / "engine" / "rights.sql").read_text(),
    re.DOTALL,
)[0]
GRANTED = """
    SELECT o.kind, o.said, pg_get_userbyid(a.grantee)::text AS role, a.privilege_type
    FROM pg_namespace n CROSS JOIN LATERAL (
        SELECT 'schema' AS kind, n.nspname::text AS said, n.nspacl AS acl
        UNION ALL SELECT 'relation', c.relname, c.relacl FROM pg_class c WHERE c.relnamespace = n.oid
        UNION ALL SELECT 'function', p.proname, p.proacl FROM pg_proc p WHERE p.pronamespace = n.oid
    ) o, aclexplode(o.acl) a
    WHERE n.nspname = $1 AND pg_get_userbyid(a.grantee) LIKE 'openqueue%' ORDER BY 1, 2, 3, 4"""


@pytest.fixture
def schema(server_dsn: str) -> Iterator[str]:
    """A schema's name that nobody else has, so that its roles are nobody else's; they go at the end."""
    name = f"roles {uuid4().hex[:10]}"
    yield name
    drop = [f"DROP ROLE IF EXISTS {quote_ident(f'openqueue_{name}_{role}')}" for role in ROLES]
    asyncio.run(execute(server_dsn, *drop))


@pytest.fixture
def dropped_first(schema: str, empty_dsn: str, databases: Any) -> Iterator[str]:
    """A database that goes before the roles that have rights in it."""
    yield empty_dsn
    databases.drop(empty_dsn)


async def granted(dsn: str, schema: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(GRANTED, schema)]
    finally:
        await connection.close(timeout=60)


def changed_sql(directory: Path) -> Path:
    """The SQL files of a later engine: one function's parameter has another name, and one is new."""
    root = directory / "sql"
    shutil.copytree(Statements().root, root)
    ids = root / "engine" / "ids.sql"
    text = ids.read_text()
    assert "new_ids(n integer)" in text
    text = text.replace("new_ids(n integer)", "new_ids(many integer)").replace(
        "generate_series(1, n)", "generate_series(1, many)"
    )
    new = "CREATE OR REPLACE FUNCTION :schema.quite_new() RETURNS integer LANGUAGE sql AS 'SELECT 1';\n"
    ids.write_text(f"{text}\n{new}")
    return root


async def test_a_second_time_changes_nothing(dropped_first: str, schema: str) -> None:
    first = await migrate(dropped_first, schema, roles=True)
    assert first.roles == tuple(f"openqueue_{schema}_{role}" for role in ROLES)
    rights = await granted(dropped_first, schema)
    versions = (
        "SELECT sum(xmin::text::bigint) FROM pg_class WHERE relnamespace = quote_ident($1)::regnamespace"
    )
    connection = await asyncpg.connect(dropped_first)
    try:
        before = await connection.fetchval(versions, schema)
        assert (await migrate(dropped_first, schema, roles=True)).roles == ()
        assert await connection.fetchval(versions, schema) == before
        assert await connection.fetch(f"SELECT FROM {quote_ident(schema)}.grant_rights()") == []
    finally:
        await connection.close(timeout=60)
    assert await granted(dropped_first, schema) == rights
    assert {row[2] for row in rights} == set(first.roles)


async def test_rights_survive_an_engine_that_is_made_anew_and_reach_what_is_new(
    dropped_first: str, schema: str, tmp_path: Path
) -> None:
    await migrate(dropped_first, schema, roles=True)
    before = set(await granted(dropped_first, schema))
    report = await migrate(dropped_first, schema, root=changed_sql(tmp_path), version="999")
    assert report.engine
    after = set(await granted(dropped_first, schema))
    assert before <= after
    assert {row[1:3] for row in after - before} == {
        ("quite_new", f"openqueue_{schema}_worker"),
        ("quite_new", f"openqueue_{schema}_admin"),
    }


async def test_what_somebody_took_or_added_is_put_right_by_the_next_migrate(
    dropped_first: str, schema: str
) -> None:
    await migrate(dropped_first, schema, roles=True)
    before = await granted(dropped_first, schema)
    worker, name = quote_ident(f"openqueue_{schema}_worker"), quote_ident(schema)
    await execute(
        dropped_first,
        f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {name} FROM {worker}",
        f"REVOKE ALL ON {name}.jobs FROM {worker}",
        f"GRANT DELETE, TRUNCATE ON {name}.attempts TO {worker}",
        f"GRANT EXECUTE ON FUNCTION {name}.retry_run(uuid) TO PUBLIC",
    )
    assert await granted(dropped_first, schema) != before
    await migrate(dropped_first, schema)
    assert await granted(dropped_first, schema) == before
    connection = await asyncpg.connect(dropped_first)
    try:
        acl = await connection.fetchval(
            "SELECT proacl::text FROM pg_proc WHERE oid = $1::text::regprocedure", f"{name}.retry_run(uuid)"
        )
    finally:
        await connection.close(timeout=60)
    assert "{=X" not in acl
    assert ",=X" not in acl


async def test_migrate_without_roles_makes_none_and_closes_the_functions_to_the_public(
    dropped_first: str, schema: str
) -> None:
    assert (await migrate(dropped_first, schema)).roles == ()
    assert await granted(dropped_first, schema) == []


def test_many_may_make_them_at_once(dropped_first: str, schema: str, bare: Command) -> None:
    bare.url = dropped_first
    started = [bare.start("migrate", "--roles", "--schema", schema) for _ in range(3)]
    for one in started:
        _, err = one.communicate(timeout=240)
        assert one.returncode == 0, err
    again = bare("migrate", "--roles", "--json", "--schema", schema, "--database-url", dropped_first).json
    assert again["done"] == {"applied": [], "engine": False, "partitions": [], "roles": []}


def test_what_sql_prints_does_all_of_it(
    dropped_first: str, empty_dsn: str, schema: str, bare: Command, databases: Any
) -> None:
    bare.url = dropped_first
    printed = bare("migrate", "--sql", "--roles", "--schema", schema, "--database-url", dropped_first)
    assert printed.code == 0, printed.err
    with psycopg.connect(dropped_first, autocommit=True) as connection:
        for statement in split(printed.out):
            connection.execute(statement.encode())
    by_hand = asyncio.run(granted(dropped_first, schema))
    assert {row[2] for row in by_hand} == {f"openqueue_{schema}_{role}" for role in ROLES}
    assert asyncio.run(migrate(dropped_first, schema, roles=True)).roles == ()
    assert asyncio.run(granted(dropped_first, schema)) == by_hand


async def test_who_may_make_no_roles_is_told_what_to_have_run_and_by_whom(own_server: OwnServer) -> None:
    """On a server of its own: the roles of the usual schema have the usual names."""
    superuser = own_server.dsn()
    login = "plain owner"
    owner = as_user(superuser, login)
    await execute(
        superuser, f'CREATE ROLE "{login}" LOGIN', f'GRANT CREATE ON DATABASE postgres TO "{login}"'
    )
    with pytest.raises(ConnectionFailed, match="No roles were made") as refused:
        await migrate(owner, roles=True)
    said = str(refused.value)
    statements = [line.strip() for line in said.splitlines() if "CREATE ROLE" in line]
    names = [f"openqueue_{role}" for role in ROLES]
    assert statements == [f"CREATE ROLE {name} NOLOGIN;" for name in names]
    assert "of-a-test" not in said
    await execute(superuser, *statements)
    await migrate(owner)
    assert {row[2] for row in await granted(superuser, "openqueue")} == set(names)
    assert (await migrate(owner, roles=True)).roles == ()


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(name=st.text(min_size=1, max_size=63))
def test_every_role_name_fits_and_is_that_of_one_schema(server: psycopg.Connection[Any], name: str) -> None:
    """The function's body, as it is for a schema of that name."""
    try:
        check_schema(name)
    except ConfigError:
        return
    cursor = psycopg.RawCursor(server)
    found = [cursor.execute(render(BODY, name).encode(), (role,)).fetchone() for role in ROLES]
    names = [row[0] for row in found if row]
    assert len(set(names)) == 3
    assert all(len(one.encode()) <= 63 and one.startswith("openqueue_") for one in names)
    assert all(name in one for one in names if len(name.encode()) <= 40)
    assert names[0] != "openqueue_enqueue"


@pytest.fixture(scope="module")
def server(server_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        yield connection
