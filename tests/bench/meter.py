"""What a piece of work costs the server: statements, row versions, write-ahead log, rows read by whole scans.

Needs a server with SETTINGS on which nothing else happens. Statements are counted as PostgreSQL carries them
out, whoever sends them; those of the meter itself are left out, because it has a role of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from tests.support.eventually import eventually

SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "top"}
ROLE = "meter"

_READY = """
    CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'meter') THEN
            CREATE ROLE meter SUPERUSER LOGIN;
        END IF;
    END $$"""
_STATEMENTS = """
    SELECT query, calls FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND userid <> (SELECT oid FROM pg_roles WHERE rolname = 'meter')"""
_ROWS = """
    SELECT regexp_replace(relname, '_\\d.*', '') AS name, sum(n_tup_ins) AS inserted,
        sum(n_tup_upd) AS updated, sum(n_tup_hot_upd) AS hot, sum(n_tup_del) AS deleted,
        sum(seq_tup_read) AS scanned
    FROM pg_stat_user_tables GROUP BY 1"""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""


@dataclass(frozen=True)
class Rows:
    """Versions of the rows of one table (all its partitions): written, and read by whole scans."""

    inserted: int = 0
    updated: int = 0
    hot: int = 0
    deleted: int = 0
    scanned: int = 0

    @property
    def versions(self) -> int:
        """Row versions that were written, or marked as dead."""
        return self.inserted + self.updated + self.deleted

    def __sub__(self, other: Rows) -> Rows:
        return Rows(*(getattr(self, name) - getattr(other, name) for name in Rows.__dataclass_fields__))


@dataclass(frozen=True)
class Costs:
    """What was spent: calls by the text of the statement, rows by table, bytes of write-ahead log."""

    calls: Counter[str]
    rows: dict[str, Rows]
    wal: int

    @property
    def statements(self) -> int:
        """Statements of all kinds, BEGIN and COMMIT too."""
        return self.calls.total()

    @property
    def versions(self) -> int:
        """Row versions in all tables."""
        return sum(rows.versions for rows in self.rows.values())

    def of(self, word: str) -> int:
        """Calls of statements with this word."""
        return sum(calls for text, calls in self.calls.items() if word in text)

    def __sub__(self, other: Costs) -> Costs:
        rows = {name: rows - other.rows.get(name, Rows()) for name, rows in self.rows.items()}
        used = {name: one for name, one in rows.items() if one != Rows()}
        return Costs(self.calls - other.calls, used, self.wal - other.wal)


class Meter:
    """Reads the server's counters for one database."""

    def __init__(self, db: Any) -> None:
        self._db = db

    async def alone(self) -> None:
        """Wait until nobody else is connected: what a session did to rows is certain when it has ended."""
        await eventually(self._is_alone, what="the sessions have ended")

    async def read(self) -> Costs:
        """All that was spent so far."""
        calls: Counter[str] = Counter()
        for row in await self._db.fetch(_STATEMENTS):
            calls[row["query"]] += row["calls"]
        await self._db.execute("SELECT pg_stat_clear_snapshot()")
        rows = {
            row["name"]: Rows(*(int(row[name]) for name in Rows.__dataclass_fields__))
            for row in await self._db.fetch(_ROWS)
        }
        return Costs(
            calls, rows, await self._db.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        )

    async def _is_alone(self) -> bool:
        return not await self._db.fetchval(_OTHERS)


@asynccontextmanager
async def metering(dsn: str) -> AsyncIterator[Meter]:
    """A meter of this database, over a connection of its own."""
    maker: Any = await asyncpg.connect(dsn)
    await maker.execute(_READY)
    await maker.close()
    user = urlsplit(dsn).username or ""
    db: Any = await asyncpg.connect(dsn.replace(f"{user}@", f"{ROLE}@", 1), statement_cache_size=0)
    try:
        yield Meter(db)
    finally:
        await db.close()
