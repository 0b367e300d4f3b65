"""Migrating a schema: from any number of processes, under any name, safely and only forward."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from openqueue.db.events import EngineReplaced, MigrationApplied, MigrationWaiting
from openqueue.db.migrations import Migrator, State, check, migrate, plan_sql, require
from openqueue.db.quoting import quote_ident
from openqueue.db.statements import split
from openqueue.errors import ConfigError, ConnectionFailed, SchemaError
from openqueue.events import Event

NAMES = [
    "openqueue",
    "my queue",
    'a"b',
    "it's",
    "back\\slash",
    "select",
    "Größe_日本",
    "$$",
    "a$b$c",
    "x; DROP TABLE y; --",
    "%I %s {}",
    "public",
    "n" * 63,
    "ü" * 31 + "x",
]

FIRST = """-- The first.
CREATE TABLE :schema.jobs (id bigint GENERATED ALWAYS AS IDENTITY, note text DEFAULT ':schema');
CREATE INDEX jobs_note ON :schema.jobs (note);
"""
ENGINE = """
CREATE OR REPLACE FUNCTION :schema.add(note text DEFAULT 'x') RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO :schema.jobs (note) VALUES (:schema.twice(note)) RETURNING id  -- twice is defined below
$$;
CREATE OR REPLACE FUNCTION :schema.twice(note text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT note || n.nspname FROM pg_namespace n WHERE n.nspname = :'schema'); END $$;
CREATE OR REPLACE VIEW :schema.all_jobs AS SELECT id, note FROM :schema.jobs;
"""


class Tree:
    """A directory of SQL files of a test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("migrations", "engine", "queries"):
            (root / name).mkdir(parents=True)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8", newline="")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path / "sql")
    made.write("migrations/0001_first.sql", FIRST)
    made.write("engine/add.sql", ENGINE)
    return made


async def fetchval(dsn: str, sql: str, *args: object) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()


async def functions(dsn: str) -> set[str]:
    sql = """SELECT array_agg(p.proname::text) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = 'openqueue'"""
    found = await fetchval(dsn, sql)
    assert isinstance(found, list)
    return set(found)


@pytest.mark.parametrize("name", NAMES)
async def test_any_legal_schema_name_is_migrated_and_works(empty_dsn: str, tree: Tree, name: str) -> None:
    report = await migrate(empty_dsn, name, root=tree.root)
    assert report.status.state is State.CURRENT
    assert await fetchval(empty_dsn, f"SELECT {quote_ident(name)}.add('job ')") == 1
    assert await fetchval(empty_dsn, f"SELECT note FROM {quote_ident(name)}.all_jobs") == f"job {name}"


@pytest.mark.parametrize("name", ["", "a\0b", "n" * 64, "ü" * 32, "pg_jobs", "\udc80", 7])
async def test_an_impossible_schema_name_is_refused_naming_the_field(empty_dsn: str, name: str) -> None:
    with pytest.raises(ConfigError, match=r"^schema: "):
        await migrate(empty_dsn, name)


async def test_migrating_twice_changes_nothing(empty_dsn: str, tree: Tree) -> None:
    first = await migrate(empty_dsn, root=tree.root)
    assert (first.applied, first.engine) == (("0001_first.sql",), True)
    objects = "SELECT sum(xmin::text::bigint) FROM pg_proc WHERE pronamespace = 'openqueue'::regnamespace"
    before = await fetchval(empty_dsn, objects)
    second = await migrate(empty_dsn, root=tree.root)
    assert (second.applied, second.engine, second.status) == ((), False, first.status)
    assert await fetchval(empty_dsn, objects) == before
    assert await fetchval(empty_dsn, "SELECT count(*) FROM openqueue.migrations") == 1


async def test_ten_processes_that_migrate_at_once_apply_each_file_once(empty_dsn: str, tree: Tree) -> None:
    for number in range(2, 8):
        tree.write(f"migrations/{number:04}_more.sql", f"CREATE TABLE :schema.t{number} ();")
    program = (
        "import asyncio, sys; from pathlib import Path; from openqueue.db.migrations import migrate\n"
        "report = asyncio.run(migrate(sys.argv[1], root=Path(sys.argv[2])))\n"
        "print(len(report.applied), int(report.engine), report.status.state)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program, empty_dsn, str(tree.root)]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment)
        for _ in range(10)
    ]
    answers = [(await process.communicate())[0].decode().split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 10
    assert {answer[2] for answer in answers} == {"current"}
    assert sum(int(answer[0]) for answer in answers) == 7
    assert sum(int(answer[1]) for answer in answers) == 1


async def test_one_who_waits_for_another_migrator_says_so_and_then_finds_it_done(
    empty_dsn: str, tree: Tree
) -> None:
    waiting = asyncio.Event()
    seen: list[Event] = []

    def emit(event: Event) -> None:
        seen.append(event)
        if isinstance(event, MigrationWaiting):
            waiting.set()

    holder = await asyncpg.connect(empty_dsn)
    key = Migrator().key
    await holder.execute("SELECT pg_advisory_lock($1)", key)
    task = asyncio.create_task(migrate(empty_dsn, root=tree.root, emit=emit))
    await waiting.wait()
    assert not task.done()
    await holder.execute("SELECT pg_advisory_unlock($1)", key)
    assert (await task).status.usable
    await holder.close()
    assert isinstance(seen[0], MigrationWaiting)
    assert {MigrationApplied, EngineReplaced} <= {type(event) for event in seen}


async def test_waiting_for_another_migrator_ends_with_an_error(empty_dsn: str, tree: Tree) -> None:
    holder = await asyncpg.connect(empty_dsn)
    await holder.execute("SELECT pg_advisory_lock($1)", Migrator().key)
    with pytest.raises(SchemaError, match="another process is migrating"):
        await migrate(empty_dsn, root=tree.root, patience=0.1)
    await holder.close()


async def test_a_migration_waits_for_a_lock_in_short_tries_and_goes_on_when_it_is_free(
    empty_dsn: str, tree: Tree
) -> None:
    await migrate(empty_dsn, root=tree.root)
    tree.write("migrations/0002_column.sql", "ALTER TABLE :schema.jobs ADD COLUMN more int;")
    waiting = asyncio.Event()
    report = await asyncpg.connect(empty_dsn)
    transaction = report.transaction()
    await transaction.start()
    await report.fetch("SELECT * FROM openqueue.jobs")
    emit = lambda event: waiting.set() if isinstance(event, MigrationWaiting) else None  # noqa: E731
    task = asyncio.create_task(migrate(empty_dsn, root=tree.root, emit=emit))
    await waiting.wait()
    await fetchval(empty_dsn, "SELECT openqueue.add()")  # an enqueue gets through meanwhile
    await transaction.rollback()
    assert (await task).applied == ("0002_column.sql",)
    await report.close()


@pytest.mark.parametrize("change", ["-- new\n", "\n"])
async def test_a_file_that_changed_after_it_was_applied_is_refused_by_name(
    empty_dsn: str, tree: Tree, change: str
) -> None:
    await migrate(empty_dsn, root=tree.root)
    tree.write("migrations/0001_first.sql", FIRST + change)
    tree.write("migrations/0002_more.sql", "CREATE TABLE :schema.more ();")
    assert (await check(empty_dsn, root=tree.root)).state is State.CHANGED
    for act in (migrate, require, plan_sql):
        with pytest.raises(SchemaError, match=r"0001_first\.sql was applied .* with another text"):
            await act(empty_dsn, root=tree.root)
    assert await fetchval(empty_dsn, "SELECT to_regclass('openqueue.more')") is None


async def test_line_ends_and_a_byte_order_mark_are_not_changes(empty_dsn: str, tree: Tree) -> None:
    await migrate(empty_dsn, root=tree.root)
    tree.write("migrations/0001_first.sql", "\ufeff" + FIRST.replace("\n", "\r\n"))
    assert (await check(empty_dsn, root=tree.root)).state is State.CURRENT


async def test_a_file_that_fails_leaves_nothing_and_names_itself_and_the_line(
    empty_dsn: str, tree: Tree
) -> None:
    tree.write("migrations/0002_bad.sql", "CREATE TABLE :schema.half ();\n\nCREATE TABEL x ();\n")
    with pytest.raises(SchemaError, match=r"0002_bad\.sql, line 3, failed: syntax error"):
        await migrate(empty_dsn, root=tree.root)
    status = await check(empty_dsn, root=tree.root)
    assert (status.state, status.applied, status.pending) == (State.BEHIND, 1, ("0002_bad.sql",))
    assert await fetchval(empty_dsn, "SELECT to_regclass('openqueue.half')") is None
    tree.write("migrations/0002_bad.sql", "CREATE TABLE :schema.half ();")
    assert (await migrate(empty_dsn, root=tree.root)).status.state is State.CURRENT


async def test_a_function_whose_body_is_wrong_is_named_and_nothing_is_replaced(
    empty_dsn: str, tree: Tree
) -> None:
    await migrate(empty_dsn, root=tree.root)
    tree.write("engine/bad.sql", "CREATE FUNCTION :schema.bad() RETURNS int LANGUAGE sql AS 'SELECT nix';")
    with pytest.raises(SchemaError, match=r"openqueue\.bad\(\).*nix"):
        await migrate(empty_dsn, root=tree.root)
    assert "bad" not in await functions(empty_dsn)


async def test_the_states_of_a_schema_are_told_apart(empty_dsn: str, tree: Tree) -> None:
    async def state() -> State:
        return (await check(empty_dsn, root=tree.root)).state

    assert await state() is State.MISSING
    with pytest.raises(SchemaError, match=r"does not exist.*openqueue migrate"):
        await require(empty_dsn, root=tree.root)
    await migrate(empty_dsn, root=tree.root)
    assert await state() is State.CURRENT
    tree.write("migrations/0002_more.sql", "CREATE TABLE :schema.more ();")
    assert await state() is State.BEHIND
    with pytest.raises(SchemaError, match=r"0002_more\.sql still to come.*openqueue migrate"):
        await require(empty_dsn, root=tree.root)
    await migrate(empty_dsn, root=tree.root)
    (tree.root / "migrations/0002_more.sql").unlink()
    assert await state() is State.AHEAD
    assert (await require(empty_dsn, root=tree.root)).usable
    tree.write("migrations/0002_more.sql", "CREATE TABLE :schema.more ();")
    tree.write("engine/add.sql", ENGINE + "-- new")
    assert await state() is State.BEHIND


async def test_an_older_version_leaves_a_newer_schema_and_its_engine_alone(
    empty_dsn: str, tree: Tree, tmp_path: Path
) -> None:
    old = Tree(tmp_path / "old")
    old.write("migrations/0001_first.sql", FIRST)
    old.write(
        "engine/add.sql", ENGINE + "CREATE FUNCTION :schema.old() RETURNS int LANGUAGE sql AS 'SELECT 1';"
    )
    tree.write("migrations/0002_more.sql", "CREATE TABLE :schema.more ();")
    await migrate(empty_dsn, root=tree.root)
    report = await migrate(empty_dsn, root=old.root)
    assert (report.status.state, report.engine, report.applied) == (State.AHEAD, False, ())
    assert "newer than this openqueue" in str(report.status)
    assert "old" not in await functions(empty_dsn)


async def test_an_engine_of_a_newer_version_is_not_replaced_though_the_migrations_are_the_same(
    empty_dsn: str, tree: Tree
) -> None:
    await migrate(empty_dsn, root=tree.root, version="1.10.0")
    tree.write("engine/add.sql", ENGINE + "-- as it was")
    report = await migrate(empty_dsn, root=tree.root, version="1.9.0")
    assert (report.status.state, report.engine) == (State.AHEAD, False)
    assert (await migrate(empty_dsn, root=tree.root, version="1.10.0")).engine


async def test_functions_that_left_the_set_are_dropped_and_those_of_others_stay(
    empty_dsn: str, tree: Tree
) -> None:
    tree.write(
        "engine/extra.sql", "CREATE FUNCTION :schema.extra(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
    )
    await migrate(empty_dsn, root=tree.root)
    await fetchval(empty_dsn, "CREATE FUNCTION openqueue.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    (tree.root / "engine/extra.sql").unlink()
    assert (await migrate(empty_dsn, root=tree.root)).engine
    assert await functions(empty_dsn) == {"add", "twice", "mine"}


async def test_a_dropped_function_that_somebody_depends_on_stays_until_nobody_does(
    empty_dsn: str, tree: Tree
) -> None:
    tree.write("engine/extra.sql", "CREATE FUNCTION :schema.extra() RETURNS int LANGUAGE sql AS 'SELECT 1';")
    await migrate(empty_dsn, root=tree.root)
    await fetchval(empty_dsn, "CREATE VIEW public.theirs AS SELECT openqueue.extra()")
    (tree.root / "engine/extra.sql").unlink()
    assert (await migrate(empty_dsn, root=tree.root)).status.state is State.CURRENT
    assert "extra" in await functions(empty_dsn)
    await fetchval(empty_dsn, "DROP VIEW public.theirs")
    tree.write("engine/add.sql", ENGINE + "-- again")
    await migrate(empty_dsn, root=tree.root)
    assert await functions(empty_dsn) == {"add", "twice"}


async def test_a_changed_signature_is_dropped_made_again_and_keeps_its_rights(
    empty_dsn: str, tree: Tree
) -> None:
    await migrate(empty_dsn, root=tree.root)
    role = "reader " + urlsplit(empty_dsn).path[-12:]
    await fetchval(empty_dsn, f"CREATE ROLE {quote_ident(role)}")
    try:
        await fetchval(empty_dsn, "REVOKE ALL ON FUNCTION openqueue.add(text) FROM PUBLIC")
        await fetchval(empty_dsn, f"GRANT EXECUTE ON FUNCTION openqueue.add(text) TO {quote_ident(role)}")
        tree.write(
            "engine/add.sql",
            ENGINE.replace("RETURNS bigint", "RETURNS text").replace("RETURNING id", "RETURNING id::text"),
        )
        assert (await migrate(empty_dsn, root=tree.root)).engine
        assert await fetchval(empty_dsn, "SELECT openqueue.add()") == "1"
        allowed = "SELECT has_function_privilege($1, 'openqueue.add(text)', 'EXECUTE')"
        assert await fetchval(empty_dsn, allowed, role) is True
        everybody = """SELECT bool_or(a.grantee = 0) FROM pg_proc p, aclexplode(p.proacl) a
                       WHERE p.oid = 'openqueue.add(text)'::regprocedure"""
        assert await fetchval(empty_dsn, everybody) is False
    finally:
        await fetchval(empty_dsn, f"DROP OWNED BY {quote_ident(role)}")
        await fetchval(empty_dsn, f"DROP ROLE {quote_ident(role)}")


async def test_a_file_without_transaction_runs_statement_by_statement(empty_dsn: str, tree: Tree) -> None:
    tree.write(
        "migrations/0002_index.sql",
        "-- transaction: none\nCREATE INDEX CONCURRENTLY IF NOT EXISTS one ON :schema.jobs (id); -- a;b\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS two ON :schema.jobs (note, id);\n",
    )
    assert (await migrate(empty_dsn, root=tree.root)).applied == ("0001_first.sql", "0002_index.sql")
    for name in ("one", "two"):
        assert await fetchval(empty_dsn, f"SELECT to_regclass('openqueue.{name}')") is not None


async def test_an_invalid_index_left_by_a_failed_try_is_dropped_and_made_again(
    empty_dsn: str, tree: Tree
) -> None:
    await migrate(empty_dsn, root=tree.root)
    await fetchval(empty_dsn, "INSERT INTO openqueue.jobs (note) VALUES ('same'), ('same')")
    tree.write(
        "migrations/0002_unique.sql",
        "-- transaction: none\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one ON :schema.jobs (note);\n",
    )
    with pytest.raises(SchemaError, match=r"0002_unique\.sql.*could not create unique index"):
        await migrate(empty_dsn, root=tree.root)
    await fetchval(empty_dsn, "DELETE FROM openqueue.jobs")
    printed = await plan_sql(empty_dsn, root=tree.root)
    assert printed.index("DROP INDEX CONCURRENTLY IF EXISTS openqueue.one;") < printed.index(
        "CREATE UNIQUE INDEX"
    )
    await migrate(empty_dsn, root=tree.root)
    assert "DROP INDEX" not in await plan_sql(empty_dsn, root=tree.root)
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'openqueue.one'::regclass"
    assert await fetchval(empty_dsn, valid) is True


async def test_migrators_build_an_index_concurrently_beside_each_other_without_deadlock(
    empty_dsn: str, tree: Tree
) -> None:
    tree.write(
        "migrations/0002_index.sql",
        "-- transaction: none\nCREATE INDEX CONCURRENTLY IF NOT EXISTS one ON :schema.jobs (id);\n",
    )
    reports = await asyncio.gather(*(migrate(empty_dsn, root=tree.root) for _ in range(5)))
    assert sorted(name for report in reports for name in report.applied) == [
        "0001_first.sql",
        "0002_index.sql",
    ]


async def test_what_is_printed_is_what_would_run(empty_dsn: str, tree: Tree) -> None:
    tree.write(
        "migrations/0002_index.sql",
        "-- transaction: none\nCREATE INDEX CONCURRENTLY IF NOT EXISTS one ON :schema.jobs (id); -- end\n",
    )
    everything = await plan_sql(None, "it's", root=tree.root)
    printed = await plan_sql(empty_dsn, "it's", root=tree.root)
    assert printed == everything
    assert await fetchval(empty_dsn, "SELECT count(*) FROM pg_namespace WHERE nspname = 'it''s'") == 0
    connection = await asyncpg.connect(empty_dsn)
    for statement in split(printed):  # as psql sends them
        await connection.execute(statement)
    await connection.close()
    assert (await check(empty_dsn, "it's", root=tree.root)).state is State.CURRENT
    assert await fetchval(empty_dsn, """SELECT "it's".add()""") == 1
    assert "Nothing to run" in await plan_sql(empty_dsn, "it's", root=tree.root)


async def test_partitions_are_made_by_every_migrate_if_the_engine_can(empty_dsn: str, tree: Tree) -> None:
    tree.write("migrations/0002_made.sql", "CREATE TABLE :schema.made (n int);")
    tree.write(
        "engine/partitions.sql",
        "CREATE OR REPLACE FUNCTION :schema.ensure_partitions(ahead int DEFAULT 2) RETURNS SETOF text"
        " LANGUAGE sql AS $$ INSERT INTO :schema.made VALUES (ahead) RETURNING 'part_' || n $$;",
    )
    for _ in range(2):
        assert (await migrate(empty_dsn, root=tree.root)).partitions == ("part_2",)


async def test_a_table_named_migrations_that_is_not_ours_is_left_alone(empty_dsn: str, tree: Tree) -> None:
    await fetchval(empty_dsn, "CREATE TABLE public.migrations (id int, version text)")
    with pytest.raises(SchemaError, match="not openqueue's"):
        await migrate(empty_dsn, "public", root=tree.root)


async def test_a_missing_right_is_named_with_a_remedy(empty_dsn: str, tree: Tree) -> None:
    parts = urlsplit(empty_dsn)
    role = "nobody_" + parts.path[-12:]
    await fetchval(empty_dsn, f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    try:
        theirs = urlunsplit(parts._replace(netloc=f"{role}:secret@{parts.netloc.rpartition('@')[2]}"))
        with pytest.raises(
            ConnectionFailed, match=f"right is missing in database .*{role}.*permission denied"
        ):
            await migrate(theirs, root=tree.root)
    finally:
        await fetchval(empty_dsn, f"DROP ROLE {role}")


async def test_a_read_only_database_is_named_with_a_remedy(empty_dsn: str, tree: Tree) -> None:
    name = urlsplit(empty_dsn).path[1:]
    await fetchval(empty_dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(ConnectionFailed, match=r"read-only.*primary"):
        await migrate(empty_dsn, root=tree.root)


async def test_migrate_inside_a_transaction_is_refused(empty_dsn: str, tree: Tree) -> None:
    connection = await asyncpg.connect(empty_dsn)
    async with connection.transaction():
        with pytest.raises(SchemaError, match="not inside a transaction"):
            await migrate(connection, root=tree.root)
    await connection.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [("migrations/first.sql", "NNNN"), ("migrations/0001_other.sql", "Two migrations have number 1")],
)
async def test_a_badly_named_file_is_refused(empty_dsn: str, tree: Tree, name: str, message: str) -> None:
    tree.write(name, "SELECT 1;")
    with pytest.raises(SchemaError, match=message):
        await check(empty_dsn, root=tree.root)


async def test_a_migrator_that_is_killed_leaves_no_lock_and_nothing_half_done(
    empty_dsn: str, tree: Tree
) -> None:
    tree.write("migrations/0002_slow.sql", "CREATE TABLE :schema.slow (); SELECT pg_sleep(600);")
    task = asyncio.create_task(migrate(empty_dsn, root=tree.root))
    victim = """SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event = 'PgSleep' AND query LIKE '%slow%'"""
    pid = None
    while pid is None:
        pid = await fetchval(empty_dsn, victim)
    await fetchval(empty_dsn, "SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(ConnectionFailed, match="was ended"):
        await task
    tree.write("migrations/0002_slow.sql", "CREATE TABLE :schema.slow ();")
    assert (await migrate(empty_dsn, root=tree.root)).applied == ("0002_slow.sql",)


@pytest.mark.parametrize(
    ("drop", "missing"),
    [
        ("VIEW openqueue.all_jobs", "view all_jobs"),
        ("FUNCTION openqueue.add(text)", "function add"),
        ("FUNCTION openqueue.twice(text, int)", "function openqueue.twice(text,integer)"),
        ("TRIGGER touch ON openqueue.jobs", "trigger touch"),
        ("AGGREGATE openqueue.joined(text)", "function joined"),
    ],
)
async def test_what_somebody_dropped_of_the_engine_is_noticed_and_made_again(
    empty_dsn: str, tree: Tree, drop: str, missing: str
) -> None:
    more = """
        CREATE OR REPLACE FUNCTION :schema.twice(note text, n int) RETURNS text LANGUAGE sql AS 'SELECT $1';
        CREATE OR REPLACE AGGREGATE :schema.joined(text) (SFUNC = textcat, STYPE = text);
        CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON :schema.jobs
            FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
    """
    tree.write("engine/add.sql", ENGINE + more)
    await migrate(empty_dsn, root=tree.root)
    assert not (await migrate(empty_dsn, root=tree.root)).engine
    await fetchval(empty_dsn, f"DROP {drop}")
    status = await check(empty_dsn, root=tree.root)
    assert (status.state, status.engine, status.missing) == (State.BEHIND, False, (missing,))
    assert f"somebody dropped {missing}" in str(status)
    with pytest.raises(SchemaError, match="Run: openqueue migrate"):
        await require(empty_dsn, root=tree.root)
    report = await migrate(empty_dsn, root=tree.root)
    assert (report.engine, report.status.state, report.status.missing) == (True, State.CURRENT, ())


async def test_a_function_that_was_kept_for_somebody_is_not_missed_when_it_goes(
    empty_dsn: str, tree: Tree
) -> None:
    extra = "CREATE FUNCTION :schema.extra() RETURNS int LANGUAGE sql AS 'SELECT 1';"
    tree.write("engine/extra.sql", extra)
    await migrate(empty_dsn, root=tree.root)
    await fetchval(empty_dsn, "CREATE VIEW public.theirs AS SELECT openqueue.extra()")
    (tree.root / "engine/extra.sql").unlink()
    await migrate(empty_dsn, root=tree.root)
    await fetchval(empty_dsn, "DROP FUNCTION openqueue.extra() CASCADE")
    assert (await check(empty_dsn, root=tree.root)).state is State.CURRENT


async def test_the_shipped_files_migrate_and_are_then_current(empty_dsn: str) -> None:
    report = await migrate(empty_dsn, "the shipped")
    assert report.status.state is State.CURRENT
    assert report.partitions
    again = await migrate(empty_dsn, "the shipped")
    assert (again.applied, again.engine, again.partitions) == ((), False, ())
