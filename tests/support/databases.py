"""A database for each test, copied from one that was migrated once."""

from __future__ import annotations

import asyncio
from itertools import count
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg

from openqueue.db.migrations import migrate


class Databases:
    """Makes and drops databases on one server, over one connection; used by one process.

    All processes of a session (`session` is its name) share the template. Creating a database from it
    takes some 30 ms, dropping one 8 ms.
    """

    def __init__(self, dsn: str, session: str, worker: str) -> None:
        self._dsn = dsn
        self._template = f"openqueue_test_{session}_template"
        self._names = (f"openqueue_test_{session}_{worker}_{number}" for number in count())
        self._admin = psycopg.connect(dsn, autocommit=True)
        self._migrated = False

    def create(self, *, migrated: bool = True) -> str:
        """Make a database; gives its address."""
        name = next(self._names)
        if migrated:
            self._ensure_template()
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{self._template if migrated else "template0"}"')
        return with_database(self._dsn, name)

    def drop(self, dsn: str) -> None:
        """Drop a database that `create` made, with whoever is still connected."""
        self._execute(f'DROP DATABASE IF EXISTS "{urlsplit(dsn).path[1:]}" WITH (FORCE)')

    def close(self) -> None:
        """Disconnect; the template stays, as other processes of the session may need it."""
        self._admin.close()

    def _ensure_template(self) -> None:
        """Migrate the template, unless another process of this session has."""
        if self._migrated:
            return
        self._execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", self._template)
        try:
            known = self._admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self._template])
            if known.fetchone() is None:
                self._make_template()
        finally:
            self._execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", self._template)
        self._migrated = True

    def _make_template(self) -> None:
        unfinished = f"{self._template}_unfinished"
        self._execute(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)')
        self._execute(f'CREATE DATABASE "{unfinished}" TEMPLATE template0')
        asyncio.run(migrate(with_database(self._dsn, unfinished)))
        self._execute(f'ALTER DATABASE "{unfinished}" RENAME TO "{self._template}"')

    def _execute(self, statement: str, *args: object) -> None:
        self._admin.execute(statement.encode(), args or None)


def drop_all(dsn: str, session: str) -> None:
    """Drop what a session leaves on a server that goes on without it."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        pattern = f"openqueue\\_test\\_{session}\\_%"
        rows = admin.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [pattern]).fetchall()
        for (name,) in rows:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def with_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{quote(name, safe='')}"))
