"""Every statement of sql/ is understood by the server it is written for."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from openqueue.db.migrations import migrate
from openqueue.db.statements import Statements
from tests.support.own_server import OwnServer

STATEMENTS = Statements()
CHECKER = Path("/usr/lib/postgresql/15")

# A body's names are looked up when it first runs, so a misspelt one can wait for years.
CHECK_BODIES = """
    SELECT format('%s:%s %s %s', f.oid::regprocedure, c.lineno, c.sqlstate, c.message)
    FROM pg_proc f, plpgsql_check_function_tb(
        f.oid, other_warnings => false, extra_warnings => false, performance_warnings => false
    ) c
    WHERE f.pronamespace = 'openqueue'::regnamespace AND f.prorettype <> 'trigger'::regtype
      AND f.prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
"""


async def test_every_named_statement_is_prepared(db: asyncpg.Connection) -> None:
    refused = {}
    for name, text in STATEMENTS.items():
        try:
            await db.prepare(text)
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    assert len(STATEMENTS) > 20
    assert refused == {}


def test_every_statement_too_long_for_a_glance_says_what_it_promises() -> None:
    silent = [name for name in STATEMENTS if len(STATEMENTS[name]) > 400 and not STATEMENTS.promise(name)]
    assert silent == []


@pytest.mark.parametrize("path", STATEMENTS.engine_files(), ids=lambda path: path.stem)
def test_every_engine_function_says_what_it_does(path: Path) -> None:
    lines = path.read_text().splitlines()
    made = [at for at, line in enumerate(lines) if line.startswith("CREATE OR REPLACE FUNCTION")]
    assert [lines[at] for at in made if at == 0 or not lines[at - 1].startswith("--")] == []


async def test_every_view_is_planned(db: asyncpg.Connection) -> None:
    views = await db.fetch("SELECT viewname FROM pg_views WHERE schemaname = 'openqueue'")
    assert {"runs", "run_events", "queue_stats"} <= {view["viewname"] for view in views}
    for view in views:
        await db.fetch(f'EXPLAIN SELECT * FROM openqueue."{view["viewname"]}"')


async def test_every_function_body_is_understood() -> None:
    """By plpgsql_check, where it is installed; it reads a body without running it."""
    if not (CHECKER / "lib" / "plpgsql_check.so").exists():
        pytest.skip("MISSING: plpgsql_check (apt-get install postgresql-15-plpgsql-check)")
    with OwnServer.temporary(CHECKER / "bin") as server:
        await migrate(server.dsn())
        connection = await asyncpg.connect(server.dsn())
        try:
            await connection.execute("CREATE EXTENSION plpgsql_check")
            faults = [row[0] for row in await connection.fetch(CHECK_BODIES)]
        finally:
            await connection.close()
    assert faults == []


@pytest.mark.parametrize("directory", ["migrations", "engine", "queries"])
def test_every_sql_file_begins_with_what_it_is_for(directory: str) -> None:
    files = list((STATEMENTS.root / directory).glob("*.sql"))
    assert files
    assert [path.name for path in files if not path.read_text().startswith("-- ")] == []
