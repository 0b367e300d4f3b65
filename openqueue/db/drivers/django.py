"""Django: `django.db.connection`, or one of `django.db.connections`, on PostgreSQL.

Statements go through Django's own cursor, so that its transactions, its wrappers and its log know of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from openqueue.db.drivers.executor import (
    InPlace,
    Rows,
    failed,
    idle,
    refused,
    translated,
    translating,
    without_autocommit,
)
from openqueue.db.drivers.paramstyle import named, pyformat
from openqueue.errors import OpenQueueError

__all__ = ["OfConnection"]


class OfConnection(InPlace):
    """Runs statements on the connection of this thread, opening it if need be."""

    def __init__(self, connection: Any, timeout: float | None) -> None:
        if connection.vendor != "postgresql":
            raise refused(
                f"Django's database {connection.alias!r} is on {connection.vendor}. "
                "Jobs are kept in PostgreSQL."
            )
        self._connection = connection

    def fetch_now(self, sql: str, args: tuple[Any, ...]) -> Rows:
        with translating(_translated), self._connection.cursor() as cursor:
            cursor.execute(pyformat(sql), named(args))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def together_now(self) -> Iterator[None]:
        """By the connection, not by `atomic`, which would take the one that has its alias in this thread."""
        with translating(_translated):
            if self._in_transaction():
                yield
            else:
                mine = self._connection
                with without_autocommit(mine.set_autocommit, mine.commit, mine.rollback):
                    yield

    def _in_transaction(self) -> bool:
        self._connection.ensure_connection()
        return not (self._connection.get_autocommit() and idle(self._connection.connection))


def _translated(error: Exception, seconds: float | None) -> OpenQueueError:
    from django.core.exceptions import SynchronousOnlyOperation
    from django.db.transaction import TransactionManagementError

    if isinstance(error, SynchronousOnlyOperation):
        return refused(
            "Django does not let its connections be used where an event loop runs. Call enqueue_sync in the "
            "function that you give to sync_to_async, where the transaction is."
        )
    if isinstance(error, TransactionManagementError):
        return failed(error)
    return translated(error, seconds)
