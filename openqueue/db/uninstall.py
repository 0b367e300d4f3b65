"""Take openqueue out of a database: its schema with all that is in it and, if asked for, its roles."""

from __future__ import annotations

import re
from dataclasses import dataclass

import asyncpg

from openqueue.db.faults import FROM_ASYNCPG, mapped
from openqueue.db.migrator import Migrator
from openqueue.db.statements import Statements, read_sql
from openqueue.db.target import Connection, place_of
from openqueue.errors import OpenQueueError, SchemaError

__all__ = ["Installed", "Removed", "installed", "refuse_live", "uninstall"]

LOCK_TIMEOUT = "10s"
"""How long the tables may be in use by somebody: who waits for them waits behind us."""

_MADE = re.compile(r"\bCREATE (?:TABLE(?: IF NOT EXISTS)?|SEQUENCE|(?:OR REPLACE )?VIEW) :schema\.(\w+)")


@dataclass(frozen=True, slots=True)
class Installed:
    """What is there: where, the workers that live, what stands elsewhere and goes with it, roles."""

    place: str
    workers: tuple[str, ...]
    dependents: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """The roles that are gone, and those that could not be dropped, each with the reason."""

    roles: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


async def installed(connection: Connection, schema: str) -> Installed:
    """What `uninstall` would remove. Raises SchemaError if there is nothing, or not only openqueue's."""
    await _refuse_others(connection, schema)
    own = Statements(schema)
    async with connection.transaction(readonly=True):
        workers = await connection.fetch(own["uninstall_workers"])
        dependents = await connection.fetch(own["uninstall_dependents"])
        roles = await connection.fetch(own["uninstall_roles"])
    return Installed(
        str(place_of(connection)),
        tuple(f"{row['name']} on {row['host']}" for row in workers),
        tuple(row["thing"] for row in dependents),
        tuple(row["name"] for row in roles),
    )


def refuse_live(found: Installed, schema: str, *, force: bool) -> None:
    """Raise OpenQueueError while workers live, unless `force`."""
    if found.workers and not force:
        names = ", ".join(found.workers)
        raise OpenQueueError(
            f"Nothing was removed: schema {schema!r} has live workers: {names}. Stop them, or add --force."
        )


async def uninstall(
    connection: Connection, schema: str, *, force: bool = False, roles: bool = False
) -> Removed:
    """Drop the schema, also while workers live if `force`; `roles`: drop them, too, unless they are needed.

    Raises OpenQueueError while workers live, SchemaError as `installed`, ConnectionFailed.
    """
    found = await installed(connection, schema)
    refuse_live(found, schema, force=force)
    own = Statements(schema)
    try:
        named = await connection.fetch(own["uninstall_roles"]) if roles else []
        async with connection.transaction():
            await connection.execute(own["migrator_settings"], LOCK_TIMEOUT)
            if not await connection.fetchval(own["migrator_try_lock"], Migrator(schema).key):
                raise SchemaError(f"Schema {schema!r} is being migrated just now. Try again.")
            await connection.execute(own["uninstall_drop"], timeout=3600)
            await connection.execute(own["uninstall_public"])
    except FROM_ASYNCPG as error:
        raise mapped(error, found.place, doing="uninstall", schema=schema) from error
    return await _drop(connection, [(row["name"], row["statement"]) for row in named])


async def _drop(connection: Connection, named: list[tuple[str, str]]) -> Removed:
    gone, kept = [], []
    for name, statement in named:
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:  # rights in another database, or not ours to drop
            kept.append(f"{name}: {error}")
        else:
            gone.append(name)
    return Removed(tuple(gone), tuple(kept))


async def _refuse_others(connection: Connection, schema: str) -> None:
    """Raise SchemaError unless the schema is there and everything in it is openqueue's."""
    status = await Migrator(schema).check(connection)
    if not status.usable:
        raise SchemaError(f"{status} Nothing was removed: only a schema that is up to date is known whole.")
    own = Statements(schema)
    files = [*own.migration_files(), *own.engine_files()]
    made = {name for path in files for name in _MADE.findall(read_sql(path))} | {"migrations", "engine"}
    rows = await connection.fetch(own["uninstall_strangers"], sorted(made))
    if rows:
        raise SchemaError(
            f"Nothing was removed: schema {schema!r} holds more than openqueue: "
            f"{', '.join(row['thing'] for row in rows)}. Move it elsewhere (ALTER … SET SCHEMA), or drop it."
        )
