"""Nothing that is given reaches SQL unquoted: names are stored as they are, or refused naming the field."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from openqueue.db.migrations import migrate
from openqueue.db.quoting import check_schema, quote_ident
from openqueue.db.statements import Statements
from openqueue.errors import ConfigError
from tests.support.databases import Databases
from tests.support.hostile import FEW, NAMES, names_field
from tests.support.realm import execute

Connection = psycopg.Connection[Any]
WHOLE = "SELECT count(*), sum(c.oid::bigint) FROM pg_class c WHERE relnamespace = 'openqueue'::regnamespace"
ADD = """SELECT openqueue.add_job(task => %(task)s, payload => %(payload)s, queue_name => %(queue_name)s,
    job_key => %(job_key)s, tags => %(tags)s, group_key => %(group_key)s,
    concurrency_key => %(concurrency_key)s, idempotency_key => %(idempotency_key)s,
    namespace => %(namespace)s)"""
FIELDS = (
    "task",
    "queue_name",
    "job_key",
    "tags",
    "group_key",
    "concurrency_key",
    "idempotency_key",
    "namespace",
)
STORED = """SELECT r.task, r.queue AS queue_name, r.key AS job_key, r.tags, r.group_key, r.concurrency_key,
        r.namespace
    FROM openqueue.run_requests r WHERE r.id = %s"""


@pytest.fixture(scope="module")
def server(databases: Databases) -> Iterator[Connection]:
    """A connection whose every test is undone."""
    dsn = databases.create()
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        yield connection
        connection.rollback()
    databases.drop(dsn)


@settings(FEW, max_examples=120)
@given(field=st.sampled_from(FIELDS), name=NAMES)
@example(field="task", name="'); DROP TABLE openqueue.jobs; --")
def test_what_a_job_is_called_is_stored_as_it_is_or_refused(
    server: Connection, field: str, name: str
) -> None:
    if "\0" in name or any("\ud800" <= one <= "\udfff" for one in name):
        return  # no driver sends them
    given_: dict[str, Any] = dict.fromkeys(FIELDS) | {
        "task": "t",
        "payload": "{}",
        "namespace": "default",
    }
    given_[field] = [name] if field == "tags" else name
    before = server.execute(WHOLE).fetchone()
    run, refused = None, None
    try:
        with server.transaction():
            run = server.execute(ADD, given_).fetchone()
    except psycopg.Error as error:
        refused = error
    if run is None:
        assert refused is not None
        assert refused.sqlstate == "22023"
        names_field(refused, field)
        assert server.execute("SELECT FROM openqueue.jobs").fetchall() == []
    else:
        stored = server.execute(STORED, [run["add_job"]]).fetchone()
        assert stored is not None
        assert stored.get(field, given_[field]) == (given_[field] or None)
    assert server.execute(WHOLE).fetchone() == before
    server.rollback()


@FEW
@given(name=NAMES, column=NAMES, table=NAMES)
def test_a_trigger_on_a_table_of_any_name_enqueues_for_any_task(
    server: Connection, name: str, column: str, table: str
) -> None:
    names = [_fitting(one) or "x" for one in (table, column)]
    own = "".join(one for one in name if one.isprintable())[:200].strip() or "task"
    where = sql.Identifier("public", names[0])
    try:
        server.execute(sql.SQL("CREATE TABLE {} ({} text)").format(where, sql.Identifier(names[1])))
        called = {"task": own, "name": name[:200] or None, "namespace": own, "column": [names[1]]}
        said = server.execute(
            """SELECT openqueue.add_trigger(%(table)s::regclass, %(task)s, payload => 'columns',
                columns => %(column)s, name => %(name)s, namespace => %(namespace)s) AS name""",
            {**called, "table": where.as_string(server)},
        ).fetchone()
        assert said is not None
        insert = f"INSERT INTO {where.as_string(server).replace('%', '%%')} VALUES (%s)"
        server.execute(insert.encode(), [name])
        found = server.execute("SELECT task, namespace, input FROM openqueue.run_requests").fetchall()
        assert found == [{"task": own, "namespace": own, "input": {names[1]: name}}]
        gone = server.execute(
            "SELECT openqueue.drop_trigger(%s::regclass, %s) AS gone", [where.as_string(server), said["name"]]
        ).fetchone()
        assert gone == {"gone": True}
    finally:
        server.rollback()


def _fitting(name: str) -> str:
    """As much of it as PostgreSQL keeps of a name."""
    return name.replace("\0", "").encode(errors="ignore")[:63].decode(errors="ignore")


@pytest.fixture(scope="module")
def place(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A database with nothing in it, and the SQL of a small engine: that of the rights."""
    root = tmp_path_factory.mktemp("tree")
    for directory in ("migrations", "engine", "queries"):
        (root / directory).mkdir()
    shutil.copy(Statements().root / "engine" / "rights.sql", root / "engine")
    (root / "migrations" / "0001_jobs.sql").write_text(
        "-- Jobs.\nCREATE TABLE :schema.jobs (id int DEFAULT length(:'schema'));\n"
    )
    dsn = databases.create(migrated=False)
    yield dsn, root
    databases.drop(dsn)


@settings(FEW, max_examples=12)
@given(name=NAMES)
def test_schema_and_roles_may_have_any_name(place: tuple[str, Path], name: str) -> None:
    """With a mark that nobody else has: roles are the whole server's."""
    dsn, root = place
    schema = _fitting(uuid4().hex[:8] + name)
    try:
        check_schema(schema)
    except ConfigError:
        return
    report = asyncio.run(migrate(dsn, schema, root=root, roles=True))
    try:
        assert len(report.roles) == 3
        with psycopg.connect(dsn) as connection:
            there = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname = %s", [schema])
            assert there.fetchone() == (schema,)
            for role in report.roles:
                may = connection.execute("SELECT has_schema_privilege(%s, %s, 'USAGE')", [role, schema])
                assert may.fetchone() == (True,)
    finally:
        gone = [
            f"DROP SCHEMA {quote_ident(schema)} CASCADE",
            *(f"DROP ROLE {quote_ident(one)}" for one in report.roles),
        ]
        asyncio.run(execute(dsn, *gone))
