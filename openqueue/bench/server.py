"""What figures depend on: the machine, the server and its settings, the way to it, its disk."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Awaitable, Callable
from statistics import median

import asyncpg

from openqueue import __version__
from openqueue.bench.report import Machine, Server
from openqueue.db.faults import mapped
from openqueue.db.pool import Database
from openqueue.db.statements import Statements
from openqueue.db.target import Connection
from openqueue.errors import ConnectionFailed

__all__ = ["SETTINGS", "look_at", "this_machine"]

SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
    "commit_delay",
    "autovacuum",
)

ROUND_TRIPS, COMMITS = 300, 100


def this_machine() -> Machine:
    """The machine that this process runs on."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    return Machine(__version__, platform.python_version(), f"{platform.system()} {platform.machine()}", cores)


async def look_at(database: Database) -> Server:
    """Ask the server, and measure the way to it and its commits.

    Raises ConnectionFailed, with what helps, where no schema can be made.
    """
    statements = Statements()
    async with database.connection() as connection:
        row = await connection.fetchrow(statements["bench_server"])
        assert row is not None
        if row["read_only"]:
            raise mapped(
                asyncpg.ReadOnlySQLTransactionError("no schema can be made"),
                str(database.place),
                doing="bench",
            )
        if not row["may_create"]:
            raise ConnectionFailed(
                f"A right is missing in {database.place}: the benchmark makes a schema of its own there, and"
                f" drops it at the end. Have it granted: GRANT CREATE ON DATABASE {row['database']}"
                f" TO {row['role']};"
            )
        found = await connection.fetch(statements["bench_settings"], list(SETTINGS))
        values = {one["name"]: one["value"] for one in found}
        return Server(
            place=str(database.place),
            version=row["version"],
            settings={name: values[name] for name in SETTINGS if name in values},
            round_trip_ms=await _timed(lambda: connection.fetch(statements["bench_round_trip"]), ROUND_TRIPS),
            commit_ms=await _commit(connection, statements),
        )


async def _commit(connection: Connection, statements: Statements) -> float | None:
    try:
        return await _timed(lambda: connection.fetch(statements["bench_commit"]), COMMITS)
    except asyncpg.InsufficientPrivilegeError:
        return None


async def _timed(call: Callable[[], Awaitable[object]], times: int) -> float:
    """The median, in milliseconds."""
    await call()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - begin)
    return round(median(taken) * 1000, 3)
