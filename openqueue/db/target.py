"""Where the database is: a URL read once, said without its password, and connected to."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from openqueue.db.faults import mapped
from openqueue.db.statements import Statements
from openqueue.errors import ConfigError, ConnectionFailed

__all__ = ["OLDEST_SERVER", "Connection", "Place", "Target", "connect", "place_of", "refuse_old"]

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]  # its stubs are generic, the class itself is not
else:
    Connection = asyncpg.Connection

OLDEST_SERVER = 15
"""The oldest major version of PostgreSQL whose SQL the engine may be written in."""

_HOW = "Write postgresql://user:password@host:5432/database, with special characters percent-encoded."
_WORDS = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
_FOR_LIBPQ = frozenset({"gssencmode", "sslcompression", "load_balance_hosts", "tcp_user_timeout"})
"""Parameters of libpq that change nothing for us, and that the server would refuse as settings."""


class Sessionless(Connection):
    """A connection through a pooler: nothing is set in a session, and nothing has to be reset.

    To look up a type asyncpg turns jit off and on again (the query would be compiled for a second), which
    here would be two sessions of the server's. So it is off for one transaction, with the query in it.
    """

    __slots__ = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._server_caps = self._server_caps._replace(jit=False)  # type: ignore[has-type]  # not in its stubs

    def get_reset_query(self) -> str:
        return ""

    async def _introspect_types(self, typeoids: Any, timeout: float | None) -> Any:
        async with self.transaction():
            await self.execute(Statements()["interpreted"], timeout=timeout)
            return await super()._introspect_types(typeoids, timeout)  # type: ignore[misc]  # not in its stubs


@dataclass(frozen=True, slots=True)
class Place:
    """A database as messages name it: hosts with ports, database, user. Never the password."""

    hosts: tuple[str, ...]
    database: str
    user: str

    def __str__(self) -> str:
        return f"database {self.database!r} on {', '.join(self.hosts)} as user {self.user!r}"


@dataclass(frozen=True, slots=True)
class Target:
    """A database to connect to, read from a URL.

    Libpq's URLs are understood as asyncpg understands them (Unix sockets as ``?host=/path``, several
    hosts, ``sslmode``, ``target_session_attrs``, the PG* environment). With several hosts the one that
    takes writes is meant, unless the URL says otherwise. `timeout` is what ``connect_timeout`` says, in
    seconds, if it is there. `pooled`: a pooler in transaction mode answers there, so that each transaction
    may be carried out by another session of the server's, and none of them is ours.
    """

    dsn: str = field(repr=False)
    place: Place
    session: str | None = None
    application: str | None = None
    timeout: float | None = None
    pooled: bool = False

    @classmethod
    def of(cls, dsn: str, *, pooled: bool = False) -> Target:
        """Read a URL. Raises ConfigError, which names `database_url` and the fault, never the value."""
        parts, query = _take_apart(dsn)
        place = _place(parts, query)
        timeout = _seconds(query.pop("connect_timeout", None))
        several = len(place.hosts) > 1 and "PGTARGETSESSIONATTRS" not in os.environ
        return cls(
            dsn=parts._replace(query=urlencode(query)).geturl(),
            place=place,
            session="read-write" if several and "target_session_attrs" not in query else None,
            application=query.get("application_name"),
            timeout=timeout,
            pooled=pooled,
        )

    def arguments(self, application: str) -> dict[str, Any]:
        """Keyword arguments for asyncpg; the only server setting is the name of the application.

        Where a pooler is in between, no statement is prepared under a name: the session that knows it would
        be another one's a moment later.
        """
        settings = {} if self.application else {"application_name": application[:63]}
        found = {"dsn": self.dsn, "target_session_attrs": self.session, "server_settings": settings}
        return {**found, "statement_cache_size": 0, "connection_class": Sessionless} if self.pooled else found


async def connect(
    target: Target, *, application: str = "openqueue", timeout: float = 10.0, **options: Any
) -> Connection:
    """Open one connection of its own. Raises ConnectionFailed, saying where, why and what to do."""
    seconds = target.timeout or timeout
    try:
        arguments = {**options, **target.arguments(application)}
        connection: Connection = await asyncpg.connect(**arguments, timeout=seconds, command_timeout=timeout)
    except Exception as error:
        raise mapped(error, str(target.place), seconds=seconds) from error
    refuse_old(connection, target.place)
    return connection


def place_of(connection: Any) -> Place:
    """The database that a connection of asyncpg is connected to."""
    address, parameters = connection._addr, connection._params
    host = f"socket {address}" if isinstance(address, str) else f"{address[0]}:{address[1]}"
    return Place((host,), parameters.database, parameters.user)


def refuse_old(connection: Connection, place: Place) -> None:
    """Raise ConnectionFailed if the server is older than the engine's SQL."""
    major = connection.get_server_version().major
    if major < OLDEST_SERVER:
        raise ConnectionFailed(
            f"PostgreSQL {major} at {place} is too old: openqueue needs {OLDEST_SERVER} or newer."
        )


def _take_apart(dsn: str) -> tuple[SplitResult, dict[str, str]]:
    try:
        parts = urlsplit(dsn.strip())
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except (ValueError, AttributeError):
        raise _refuse("cannot be read as a URL") from None  # the cause would quote the password
    if parts.scheme not in ("postgresql", "postgres"):
        scheme = parts.scheme if "+" in parts.scheme or parts.netloc else ""
        raise _refuse(f"begins with {scheme + '://'!r}" if scheme else "is not a postgresql:// URL")
    if parts.fragment:
        raise _refuse("contains a '#' that is not encoded (as %23)")
    if "@" in parts.path:
        raise _refuse("contains a '/' in its user or password that is not encoded (as %2F)")
    if parts.netloc.count("@") > 1:
        raise _refuse("contains an '@' in its user or password that is not encoded (as %40)")
    _check_query(query)
    return parts, query


def _check_query(query: dict[str, str]) -> None:
    if query.get("channel_binding") == "require":
        raise _refuse("asks for channel_binding=require, which the driver (asyncpg) cannot do; remove it")
    query.pop("channel_binding", None)
    for name, words in _WORDS.items():
        if (
            query.get(name, words[0]) not in words
        ):  # said here: the driver would repeat what may be a password
            raise _refuse(f"has a value of {name} that is none of {', '.join(words)}")
    for name in [name for name in query if name in _FOR_LIBPQ or name.startswith("keepalives")]:
        del query[name]


def _place(parts: SplitResult, query: dict[str, str]) -> Place:
    user, _, rest = parts.netloc.rpartition("@")
    spec = unquote(rest) or query.get("host") or os.environ.get("PGHOST") or ""
    port = query.get("port") or os.environ.get("PGPORT") or "5432"
    name = unquote(user.partition(":")[0]) or query.get("user") or os.environ.get("PGUSER") or _login()
    database = unquote(parts.path.lstrip("/")) or query.get("dbname") or query.get("database")
    return Place(_hosts(spec, port), database or os.environ.get("PGDATABASE") or name, name)


def _hosts(spec: str, port: str) -> tuple[str, ...]:
    hosts = (spec or "localhost").split(",")
    ports = port.split(",")
    ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    return tuple(map(_with_port, hosts, ports))


def _with_port(host: str, port: str) -> str:
    name, colon, own = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    found = own if colon else port
    if not found.isdigit() or not 0 < int(found) < 65536:
        raise _refuse("has a port that is not a number from 1 to 65535")
    if host.startswith("/"):
        return f"socket {host} (port {port})"
    return host if colon else f"{name or host}:{port}"


def _seconds(value: str | None) -> float | None:
    if value is None:
        return None
    if not value.isdigit():
        raise _refuse("has a connect_timeout that is not a whole number of seconds")
    return float(max(int(value), 2)) if int(value) else None


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise _refuse("names no user, and this process's user has no name") from None


def _refuse(problem: str) -> ConfigError:
    return ConfigError(f"database_url {problem}. {_HOW}")
