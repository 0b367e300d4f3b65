"""A database for each test, copied from one that was migrated once."""

from __future__ import annotations

import time
from itertools import count
from urllib.parse import quote, urlsplit, urlunsplit

from asyncpg import ObjectInUseError

from openqueue.db.migrations import migrate
from openqueue.db.statements import Statements
from openqueue.db.target import Connection, Target, connect
from openqueue.testing.portal import Portal

__all__ = ["Databases", "with_database"]

PATIENCE = 300.0
"""Seconds for one statement: a database is copied file by file, and one process migrates for all others."""

IN_USE = 60.0
"""Seconds in which the sessions of a database may end that is to be copied or dropped."""


class Databases:
    """Makes and drops databases on the server of `url`, over one connection; used by one process.

    All processes of a session (`session` is its name, `worker` tells them apart) share the template.
    Creating a database from it takes some 30 ms, dropping one 8 ms. `url` needs the right to create them.
    """

    def __init__(
        self,
        url: str,
        session: str,
        worker: str = "main",
        *,
        schema: str = "openqueue",
        portal: Portal | None = None,
    ) -> None:
        self._url = url
        self._prefix = f"openqueue_test_{session}_"
        self._template = f"{self._prefix}template"
        self._names = (f"{self._prefix}{worker}_{number}" for number in count())
        self._schema = schema
        self._statements = Statements()
        self._own = None if portal else Portal()
        self._portal = portal or self._own or Portal()
        self._connection: Connection | None = None
        self._migrated = False

    def create(self, *, migrated: bool = True) -> str:
        """Make a database, with openqueue's schema or with nothing in it; gives its URL."""
        return self._portal.call(self._create(next(self._names), migrated=migrated))

    def drop(self, url: str) -> None:
        """Drop a database that `create` made, with whoever is still connected."""
        self._portal.call(self._do("testing_drop_database", urlsplit(url).path[1:]))

    def drop_all(self) -> None:
        """Drop all databases of the session, of all processes: for a server that goes on without it."""
        self._portal.call(self._drop_all())

    def close(self) -> None:
        """Disconnect; the template stays, as other processes of the session may need it."""
        if self._connection is not None:
            self._portal.call(self._connection.close(timeout=5))
            self._connection = None
        if self._own is not None:
            self._own.close()

    async def _create(self, name: str, *, migrated: bool) -> str:
        if migrated:
            await self._ensure_template()
        await self._do("testing_create_database", name, self._template if migrated else "template0")
        return with_database(self._url, name)

    async def _drop_all(self) -> None:
        for row in await (await self._admin()).fetch(self._statements["testing_databases"], self._prefix):
            await self._do("testing_drop_database", row["name"])

    async def _ensure_template(self) -> None:
        """Migrate the template, unless another process of this session has."""
        if self._migrated:
            return
        admin = await self._admin()
        await admin.fetchval(self._statements["testing_hold"], self._template, timeout=PATIENCE)
        try:
            if not await admin.fetch(self._statements["testing_databases"], self._template):
                await self._make_template()
        finally:
            await admin.fetchval(self._statements["testing_let_go"], self._template)
        self._migrated = True

    async def _make_template(self) -> None:
        unfinished = f"{self._prefix}unfinished"
        await self._do("testing_drop_database", unfinished)
        await self._do("testing_create_database", unfinished, "template0")
        await migrate(with_database(self._url, unfinished), self._schema)
        await self._do("testing_rename_database", unfinished, self._template)

    async def _do(self, statement: str, *names: str) -> None:
        """Carry out what a statement writes: names cannot be parameters of CREATE and DROP DATABASE.

        The server gives the sessions of a database five seconds to end: on a busy machine that is not enough.
        """
        admin = await self._admin()
        written: str = await admin.fetchval(self._statements[statement], *names)
        until = time.monotonic() + IN_USE
        while True:
            try:
                await admin.execute(written, timeout=PATIENCE)
            except ObjectInUseError:
                if time.monotonic() > until:
                    raise
            else:
                return

    async def _admin(self) -> Connection:
        if self._connection is None:
            self._connection = await connect(Target.of(self._url), application="openqueue testing")
        return self._connection


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(name, safe='')}"))
