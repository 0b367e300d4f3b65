"""Bring a schema up to date, from any number of processes at once.

Each step (a migration file, or the engine as a set) is one transaction that first takes an advisory lock,
if it is free, and then looks again at what is still to be done: so ten migrators share the work, a killed
one leaves nothing half-done, and nobody ever waits *inside* the database, where CREATE INDEX CONCURRENTLY
would wait for the waiting one. Locks on tables are asked for briefly, again and again: work stands behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import TypeVar

import asyncpg

from openqueue.db.events import EngineReplaced, MigrationApplied, MigrationWaiting
from openqueue.db.faults import FROM_ASYNCPG, mapped, sqlstate
from openqueue.db.ledger import (
    Applied,
    Ledger,
    Status,
    judge,
    own_version,
    read_ledger,
    refuse_changed,
    refuse_foreign,
)
from openqueue.db.outside import after_leftovers, run_outside
from openqueue.db.partitioned import Partitions
from openqueue.db.roles import grant_rights, make_roles
from openqueue.db.statements import Statements
from openqueue.db.steps import Part, Step, partitions, rights, roles, script, steps
from openqueue.db.target import Connection, place_of
from openqueue.errors import SchemaError
from openqueue.events import Emit, Events

__all__ = ["Migrator", "Report"]

LOCK_TIMEOUT = "100ms"
"""How long a migration may stand in the queue for a lock, with everybody else behind it."""

LONG = 7 * 86_400.0
"""Seconds for one statement of a migration: an index takes as long as it takes."""

_LOCKED = frozenset({"55P03", "40P01"})
_CANNOT_REPLACE = frozenset({"42P13"})
_CIRCUMSTANCES = ("42501", "25006", "08", "53", "57")
"""Classes of errors that are not the file's fault."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Report:
    """What `migrate` did: files applied, partitions and roles made, and how the schema stands now."""

    status: Status
    applied: tuple[str, ...] = ()
    engine: bool = False
    partitions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class _Busy(Exception):
    """Somebody else is migrating this schema."""


class Migrator:
    """Applies the files below `root` to one schema.

    `patience` is how long, in seconds, one step may wait for another migrator or for locks. `version` is
    that of the engine's files: an engine of a newer version is never replaced.
    """

    def __init__(
        self,
        schema: str = "openqueue",
        *,
        root: Path | None = None,
        version: str | None = None,
        emit: Emit | None = None,
        patience: float = 300.0,
    ) -> None:
        self.own = Statements(schema)
        self.schema = self.own.schema
        self.patience = patience
        self._files = Statements(schema, root) if root else self.own
        self._version = version or own_version()
        self._emit = emit or Events().emit

    async def migrate(self, connection: Connection, *, with_roles: bool = False) -> Report:
        """Do all that is to be done. Raises SchemaError (which file, where in it), ConnectionFailed."""
        if connection.is_in_transaction():
            raise SchemaError("migrate needs a connection that is not inside a transaction.")
        async with _errors(connection, self.schema):
            done = [step.name async for step in self._do_all(connection, self._ledger())]
            made = await self._patiently(lambda: self._partitions(connection))
            named = await self._patiently(lambda: self._rights(connection, make=with_roles))
        files = tuple(name for name in done if name.endswith(".sql"))
        return Report(await self.check(connection), files, "engine" in done, made, named)

    async def check(self, connection: Connection) -> Status:
        """How the schema stands; changes nothing."""
        async with _errors(connection, self.schema):
            return judge(self.schema, self._ledger(), await self._applied(connection))

    async def require(self, connection: Connection) -> Status:
        """Return the status if this version can work on the schema; else raise SchemaError (the remedy)."""
        status = await self.check(connection)
        if not status.usable:
            raise SchemaError(str(status))
        return status

    async def plan_sql(self, connection: Connection | None, *, with_roles: bool = False) -> str:
        """The SQL that `migrate` would run, for psql; without a connection, all of it."""
        ledger, applied = self._ledger(), Applied({}, has_schema=False, has_tables=False)
        async with _errors(connection, self.schema):
            if connection is not None:
                applied = await self._applied(connection)
            refuse_changed(status := judge(self.schema, ledger, applied))
            planned = list(steps(self.own, ledger, applied, status))
            todo = await after_leftovers(connection, self.own, planned)
        if not todo and not with_roles:
            return f"-- {status}\n-- Nothing to run.\n"
        if applied.has_partitions or any("ensure_partitions" in text for _, text in ledger.engine.files):
            todo.append(partitions(self.own))
        if with_roles:
            todo += [roles(self.own), rights(self.own)]
        return script(self.own, todo, LOCK_TIMEOUT) + "\n"

    def _ledger(self) -> Ledger:
        return read_ledger(self._files, self._version)

    async def _applied(self, connection: Connection) -> Applied:
        facts = await connection.fetchrow(self.own["migrator_facts"])
        assert facts is not None
        refuse_foreign(self.schema, facts["migrations"])
        if not (facts["migrations"] and facts["engine"]):
            return Applied({}, has_schema=facts["has_schema"], has_tables=False)
        rows = await connection.fetch(self.own["migrator_applied"])
        engine = await connection.fetchrow(self.own["migrator_engine"])
        return Applied(
            {row["number"]: (row["name"], row["checksum"]) for row in rows},
            engine=(engine["checksum"], engine["version"]) if engine else None,
            objects=frozenset(facts["objects"]),
            gone=tuple(engine["gone"]) if engine else (),
            has_partitions=facts["has_partitions"],
            partitions=Partitions.of(await connection.fetch(self.own["migrator_indexed_partitions"])),
        )

    async def _next(self, connection: Connection, ledger: Ledger) -> Step | None:
        applied = await self._applied(connection)
        status = judge(self.schema, ledger, applied)
        refuse_changed(status)
        return next(steps(self.own, ledger, applied, status), None)

    async def _do_all(self, connection: Connection, ledger: Ledger) -> AsyncIterator[Step]:
        """The steps that this process did; others may do some of them meanwhile."""
        replaced = False
        while (step := await self._next(connection, ledger)) is not None:
            if step.name == "engine" and replaced:
                raise SchemaError(f"{(await self.check(connection))} It was replaced just now, in vain.")
            started = time.monotonic()
            if await self._patiently(partial(self._do, connection, ledger, step)):
                replaced = replaced or step.name == "engine"
                self._tell(step, time.monotonic() - started)
                yield step

    async def _do(self, connection: Connection, ledger: Ledger, step: Step) -> bool:
        """Do this step if it is still the next one; raises _Busy while somebody else migrates."""
        if not step.transactional:
            return await self._outside(connection, ledger, step)
        try:
            handled = _LOCKED | _CANNOT_REPLACE if step.second else _LOCKED
            return await self._inside(connection, ledger, step, step.parts, handled)
        except asyncpg.PostgresError as error:
            if sqlstate(error) not in _CANNOT_REPLACE:
                raise
        return await self._inside(connection, ledger, step, step.second, _LOCKED)

    async def _inside(
        self,
        connection: Connection,
        ledger: Ledger,
        step: Step,
        parts: tuple[Part, ...],
        handled: frozenset[str],
    ) -> bool:
        async with self._transaction(connection):
            if await self._next(connection, ledger) != step:
                return False
            for part in parts:
                await _run(connection, part, handled)
            return True

    async def _outside(self, connection: Connection, ledger: Ledger, step: Step) -> bool:
        if not await connection.fetchval(self.own["migrator_try_hold"], self.key):
            raise _Busy
        try:
            return await run_outside(
                connection,
                self.own,
                step,
                run=lambda part: _run(connection, part, _LOCKED),
                look=lambda: self._next(connection, ledger),
                lock_timeout=LOCK_TIMEOUT,
            )
        finally:
            with suppress(*FROM_ASYNCPG):  # it ends with the session
                await connection.execute(self.own["migrator_let_go"], self.key)

    async def _partitions(self, connection: Connection) -> tuple[str, ...]:
        if not (await self._applied(connection)).has_partitions:
            return ()
        async with self._transaction(connection):
            rows = await connection.fetch(self.own["migrator_partitions"], timeout=LONG)
        return tuple(row["name"] for row in rows)

    async def _rights(self, connection: Connection, *, make: bool) -> tuple[str, ...]:
        async with self._transaction(connection):
            made = await make_roles(connection, self.own) if make else ()
            await grant_rights(connection, self.own)
        return made

    @asynccontextmanager
    async def _transaction(self, connection: Connection) -> AsyncIterator[None]:
        """A transaction with the migrator's settings, in which nobody else migrates."""
        async with connection.transaction(isolation="read_committed"):
            await connection.execute(self.own["migrator_settings"], LOCK_TIMEOUT)
            if not await connection.fetchval(self.own["migrator_try_lock"], self.key):
                raise _Busy
            yield

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until neither another migrator nor a lock is in the way, with jittered, growing pauses."""
        waited, told, pause = 0.0, -inf, 0.05
        while True:
            began = time.monotonic()
            try:
                return await attempt()
            except _Busy:
                why = "another process is migrating it"
            except asyncpg.PostgresError as error:
                if sqlstate(error) not in _LOCKED:
                    raise
                why = f"a lock is held by another transaction ({error.args[0]}; see pg_locks)"
            waited += min(time.monotonic() - began, 1.0)  # in more time it has got on: built an index
            if waited > self.patience:
                raise SchemaError(f"Schema {self.schema!r} was not migrated in {waited:.0f} s: {why}.")
            if waited - told >= 10:
                told = waited
                self._emit(MigrationWaiting(self.schema, why, waited))
            await asyncio.sleep(rest := pause * random.uniform(0.5, 1.5))
            waited, pause = waited + rest, min(2 * pause, 1.0)

    def _tell(self, step: Step, seconds: float) -> None:
        if step.name == "engine":
            self._emit(EngineReplaced(self.schema, self._version, seconds))
        else:
            self._emit(MigrationApplied(self.schema, step.name, seconds))

    @property
    def key(self) -> int:
        digest = hashlib.sha256(f"openqueue migrate {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)


async def _run(connection: Connection, part: Part, handled: frozenset[str]) -> None:
    try:
        await connection.execute(part.text, timeout=LONG)
    except asyncpg.PostgresError as error:
        state = sqlstate(error)
        if state in handled or state.startswith(_CIRCUMSTANCES):
            raise
        raise SchemaError(
            f"{part.name or 'The migrator'}{_line(part, error)} failed: {error} [{state}]. "
            "What was in the same transaction was undone; nothing later was tried."
        ) from error


def _line(part: Part, error: asyncpg.PostgresError) -> str:
    position = error.position
    return f", line {part.text.count(chr(10), 0, int(position) - 1) + 1}," if position else ""


@asynccontextmanager
async def _errors(connection: Connection | None, schema: str) -> AsyncIterator[None]:
    try:
        yield
    except FROM_ASYNCPG as error:
        raise mapped(error, str(place_of(connection)), doing="migrate", schema=schema) from error
