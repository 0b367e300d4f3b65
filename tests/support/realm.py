"""A schema whose owner is no superuser, with its roles, and logins that have one of them each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from openqueue.db.migrations import migrate
from openqueue.db.quoting import quote_ident, quote_literal
from tests.support.databases import Databases

PASSWORD = "of-a-test"
ROLES = ("enqueue", "worker", "admin")


@dataclass(frozen=True)
class Realm:
    """`superuser`, `owner` and those of the roles are URLs of one database; `other` is a second worker's."""

    schema: str
    superuser: str
    owner: str
    enqueue: str
    worker: str
    other: str
    admin: str

    def role(self, name: str) -> str:
        """The name of a role: that of a schema which is not the usual one."""
        return f"openqueue_{self.schema}_{name}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"schema_name": self.schema}

    @property
    def of_process(self) -> dict[str, Any]:
        """The same for a process."""
        return {"schema": self.schema}

    def table(self, name: str) -> str:
        return f"{quote_ident(self.schema)}.{quote_ident(name)}"


def as_user(url: str, user: str) -> str:
    """The same database, as another user."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{PASSWORD}@{place}"))


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close(timeout=60)


@contextmanager
def made_realm(databases: Databases) -> Iterator[Realm]:
    """Make one in a database of its own. Roles are the whole server's: names of this one alone."""
    mark = uuid4().hex[:10]
    superuser = databases.create(migrated=False)
    logins = {name: f"{name} {mark}" for name in ("owner", "enqueue", "worker", "other", "admin")}
    urls = {name: as_user(superuser, login) for name, login in logins.items()}
    realm = Realm(f'of "{mark}"', superuser, **urls)
    database = quote_ident(urlsplit(superuser).path[1:])
    try:
        asyncio.run(_make(realm, logins, database))
        yield realm
    finally:
        databases.drop(superuser)
        names = [*logins.values(), *map(realm.role, ROLES)]
        drop = [f"DROP ROLE IF EXISTS {quote_ident(name)}" for name in names]
        asyncio.run(execute(urlunsplit(urlsplit(superuser)._replace(path="/postgres")), *drop))


async def _make(realm: Realm, logins: dict[str, str], database: str) -> None:
    attributes = {"owner": "CREATEROLE"}
    await execute(
        realm.superuser,
        *(
            f"CREATE ROLE {quote_ident(login)} LOGIN {attributes.get(name, '')}"
            f" PASSWORD {quote_literal(PASSWORD)}"
            for name, login in logins.items()
        ),
        f"ALTER DATABASE {database} OWNER TO {quote_ident(logins['owner'])}",
    )
    await migrate(realm.owner, realm.schema, roles=True)
    granted = {**{role: role for role in ROLES}, "other": "worker"}
    await execute(
        realm.superuser,
        *(
            f"GRANT {quote_ident(realm.role(role))} TO {quote_ident(logins[name])}"
            for name, role in granted.items()
        ),
    )
