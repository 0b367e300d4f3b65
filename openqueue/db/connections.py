"""The caller's own connection, whatever its driver: the door to `openqueue.db.drivers`.

A statement that runs on the caller's connection runs in the caller's transaction, so that a job appears
with the commit and not otherwise. Each driver has an adapter, found by the module that the connection's
class comes from; no driver is imported for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openqueue.db.drivers import asyncpg, django, psycopg, sqlalchemy
from openqueue.db.drivers.executor import Executor, InPlace, refused
from openqueue.errors import InvalidOption

__all__ = ["ADAPTERS", "SUPPORTED", "Executor", "adapt", "require_sync"]

Adapter = Callable[[Any, float | None], Executor]

ADAPTERS: dict[tuple[str, str], Adapter] = {
    ("asyncpg", "Connection"): asyncpg.OfConnection,
    ("asyncpg", "PoolConnectionProxy"): asyncpg.OfConnection,
    ("asyncpg", "Pool"): asyncpg.OfPool,
    ("psycopg", "Connection"): psycopg.OfConnection,
    ("psycopg", "AsyncConnection"): psycopg.OfAsyncConnection,
    ("sqlalchemy", "Session"): sqlalchemy.OfSession,
    ("sqlalchemy", "scoped_session"): sqlalchemy.OfSession,
    ("sqlalchemy", "Connection"): sqlalchemy.OfConnection,
    ("sqlalchemy", "AsyncSession"): sqlalchemy.OfAsyncSession,
    ("sqlalchemy", "async_scoped_session"): sqlalchemy.OfAsyncSession,
    ("sqlalchemy", "AsyncConnection"): sqlalchemy.OfAsyncConnection,
    ("sqlalchemy", "Engine"): sqlalchemy.refuse_engine,
    ("sqlalchemy", "AsyncEngine"): sqlalchemy.refuse_engine,
    ("django", "ConnectionProxy"): django.OfConnection,
    ("django", "BaseDatabaseWrapper"): django.OfConnection,
}
"""For each supported class, by the package and the name of it or of a base, what makes it an Executor."""

SUPPORTED = (
    "an asyncpg Connection (also one acquired from a Pool, or the Pool), a psycopg 3 Connection or "
    "AsyncConnection, a SQLAlchemy Session, Connection, AsyncSession or AsyncConnection, or a connection "
    "of Django's"
)


def adapt(connection: object, *, timeout: float | None = 10.0) -> Executor:
    """Make the caller's connection an `Executor`.

    Taken is what `SUPPORTED` says; a statement on a pool runs outside any transaction. It may take `timeout`
    seconds, except on a synchronous connection, which is used in place. Raises InvalidOption for anything
    else, ConnectionFailed for a connection that is closed or belongs to another event loop.
    """
    return _adapter(connection)(connection, timeout)


def require_sync(connection: object) -> None:
    """Refuse a connection that only works in an event loop. Raises InvalidOption."""
    adapter = _adapter(connection)
    if isinstance(adapter, type) and not issubclass(adapter, InPlace):
        raise refused(
            f"{_name(connection)} works in its event loop only: `await … .enqueue(…)` there. Synchronous "
            "code takes a psycopg Connection, a SQLAlchemy Session or Connection, or one of Django's."
        )


def _adapter(connection: object) -> Adapter:
    for kind in type(connection).__mro__:
        adapter = ADAPTERS.get((kind.__module__.partition(".")[0], kind.__name__))
        if adapter:
            return adapter
    raise InvalidOption(
        f"connection: {_name(connection)} is not supported. Pass {SUPPORTED}; "
        "or leave it out and the job is stored at once.",
        option="connection",
    )


def _name(connection: object) -> str:
    kind = type(connection)
    return f"{kind.__module__}.{kind.__qualname__}"
