"""What an interrupted build of an index has left is dropped, and nothing of anybody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from openqueue.db.migrations import migrate, plan_sql
from openqueue.db.quoting import quote_ident
from openqueue.errors import ConnectionFailed
from tests.service.test_migrations import ENGINE, FIRST, Tree, fetchval
from tests.support.eventually import eventually

CREATE = "-- transaction: none\nCREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON :schema.jobs (note);\n"
Fail = Callable[..., Awaitable[None]]


@pytest.fixture
def files(tmp_path: Path) -> Tree:
    made = Tree(tmp_path / "sql")
    made.write("migrations/0001_first.sql", FIRST + "CREATE TABLE :schema.other (note text);")
    made.write("engine/add.sql", ENGINE)
    return made


@pytest.fixture
def fail(empty_dsn: str) -> Fail:
    """Leaves an invalid index behind."""

    async def leave(name: str, table: str = "openqueue.jobs") -> None:
        await fetchval(empty_dsn, f"INSERT INTO {table} (note) VALUES ('same'), ('same')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await fetchval(empty_dsn, f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} (note)")
        await fetchval(empty_dsn, f"DELETE FROM {table}")

    return leave


def drops(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("DROP INDEX")]


async def invalid(dsn: str) -> set[str]:
    sql = "SELECT array_agg(indexrelid::regclass::text) FROM pg_index WHERE NOT indisvalid"
    found: Any = await fetchval(dsn, sql)
    return set(found or ())


async def test_only_the_index_that_the_file_makes_of_that_table_is_dropped(
    empty_dsn: str, files: Tree, fail: Fail
) -> None:
    await migrate(empty_dsn, root=files.root)
    await fetchval(empty_dsn, "CREATE SCHEMA mine CREATE TABLE jobs (note text)")
    await fail("note")  # the file's text has the word
    await fail("by")
    await fail("by_note", "mine.jobs")
    files.write("migrations/0002_index.sql", CREATE.format("by_note"))
    assert drops(await plan_sql(empty_dsn, root=files.root)) == []
    await fail("by_note", "openqueue.other")  # a name that is taken: an error of PostgreSQL's, not a drop
    assert drops(await plan_sql(empty_dsn, root=files.root)) == []
    await fetchval(empty_dsn, "DROP INDEX openqueue.by_note")
    await migrate(empty_dsn, root=files.root)
    assert await invalid(empty_dsn) == {"openqueue.note", "openqueue.by", "mine.by_note"}


@pytest.mark.parametrize("schema", ["openqueue", 'a "b', "Größe.x"])
@pytest.mark.parametrize("name", ["by_note", '"By ""note"', "BY_NOTE", "b" * 70])
async def test_whatever_it_is_called_it_is_found(
    empty_dsn: str, files: Tree, fail: Fail, schema: str, name: str
) -> None:
    await migrate(empty_dsn, schema, root=files.root)
    await fail(name, f"{quote_ident(schema)}.jobs")
    files.write("migrations/0002_index.sql", CREATE.format(name).replace(" ON ", "\n    ON "))
    assert len(drops(await plan_sql(empty_dsn, schema, root=files.root))) == 1
    await migrate(empty_dsn, schema, root=files.root)
    assert await invalid(empty_dsn) == set()


async def test_what_is_printed_can_be_run_twice(empty_dsn: str, files: Tree, fail: Fail) -> None:
    await migrate(empty_dsn, root=files.root)
    await fail("by_note")
    files.write("migrations/0002_index.sql", CREATE.format("by_note"))
    printed = await plan_sql(empty_dsn, root=files.root)
    (drop,) = drops(printed)
    assert printed.index(drop) < printed.index("CREATE INDEX CONCURRENTLY")
    for _ in range(2):
        await fetchval(empty_dsn, drop)
    assert await invalid(empty_dsn) == set()


async def test_an_index_that_is_being_built_is_not_left_over(empty_dsn: str, files: Tree) -> None:
    await migrate(empty_dsn, root=files.root)
    files.write("migrations/0002_index.sql", CREATE.format("by_note"))
    writer = await asyncpg.connect(empty_dsn)
    writing = writer.transaction()
    await writing.start()
    await writer.execute("INSERT INTO openqueue.jobs (note) VALUES ('x')")  # a build waits for its end
    sql = "CREATE INDEX CONCURRENTLY by_note ON openqueue.jobs (note)"
    build = asyncio.create_task(fetchval(empty_dsn, sql))
    try:
        await eventually(lambda: invalid(empty_dsn), what="the build has begun")
        assert drops(await plan_sql(empty_dsn, root=files.root)) == []
    finally:
        await writing.rollback()
        await writer.close()
        with suppress(asyncpg.PostgresError):
            await build
    assert await invalid(empty_dsn) == set()


async def test_a_session_that_ends_while_it_is_looked_for_is_told_as_everywhere(
    empty_dsn: str, files: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(connection: asyncpg.Connection, *_: object) -> None:
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr("openqueue.db.migrator.after_leftovers", ended)
    with pytest.raises(ConnectionFailed):
        await plan_sql(empty_dsn, root=files.root)
