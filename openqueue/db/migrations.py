"""Migrate, check, require, print: what commands and workers call, on a URL or on an open connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from openqueue.db.ledger import State, Status
from openqueue.db.migrator import Migrator, Report
from openqueue.db.target import Connection, Target, connect
from openqueue.events import Emit

__all__ = ["Migrator", "Report", "State", "Status", "check", "connected", "migrate", "plan_sql", "require"]


async def migrate(
    where: str | Connection,
    schema: str = "openqueue",
    *,
    emit: Emit | None = None,
    root: Path | None = None,
    version: str | None = None,
    patience: float = 300.0,
    roles: bool = False,
) -> Report:
    """Create the schema or bring it up to date; safe to call everywhere at once. `where`: URL or connection.

    `roles`: make the roles for those who enqueue, work and operate, too. Once they are there, every call
    keeps their rights as they should be.

    Raises SchemaError when a file fails, was changed after it was applied, or the wait for others took
    longer than `patience` seconds; ConnectionFailed when the database cannot be used.
    """
    migrator = Migrator(schema, root=root, version=version, emit=emit, patience=patience)
    async with connected(where) as connection:
        return await migrator.migrate(connection, with_roles=roles)


async def check(where: str | Connection, schema: str = "openqueue", *, root: Path | None = None) -> Status:
    """How the schema stands to this version of openqueue; changes nothing."""
    async with connected(where) as connection:
        return await Migrator(schema, root=root).check(connection)


async def require(where: str | Connection, schema: str = "openqueue", *, root: Path | None = None) -> Status:
    """Raise SchemaError, which says which command to run, unless this version can work on the schema."""
    async with connected(where) as connection:
        return await Migrator(schema, root=root).require(connection)


async def plan_sql(
    where: str | Connection | None,
    schema: str = "openqueue",
    *,
    root: Path | None = None,
    roles: bool = False,
) -> str:
    """The SQL that `migrate` would run, for psql; None instead of a database: all of it."""
    migrator = Migrator(schema, root=root)
    if where is None:
        return await migrator.plan_sql(None, with_roles=roles)
    async with connected(where) as connection:
        return await migrator.plan_sql(connection, with_roles=roles)


@asynccontextmanager
async def connected(where: str | Connection) -> AsyncIterator[Connection]:
    """The connection, or one of its own to the URL."""
    if not isinstance(where, str):
        yield where
        return
    connection = await connect(Target.of(where), application="openqueue migrate", statement_cache_size=0)
    try:
        yield connection
    finally:
        with suppress(Exception):
            await connection.close(timeout=5)
