"""A worker among workers: its row, and its tasks in the catalogue."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from openqueue.codec import encode
from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.tasks.registry import Registry

__all__ = ["Member"]

LEAVE_TIMEOUT: Final = 2.0


class Member:
    """This process, as the others see it. `queues`: those it works on; None: all."""

    def __init__(
        self,
        database: Database,
        worker: UUID,
        *,
        namespace: str,
        name: str,
        version: str,
        queues: Sequence[str] | None,
        concurrency: int,
    ) -> None:
        self._database = database
        self._worker = worker
        self._version = version
        self._namespace = namespace
        self.released = 0
        self._row = (
            namespace,
            name,
            socket.gethostname(),
            os.getpid(),
            version,
            list(queues) if queues else None,
            concurrency,
        )
        self.appearing: tuple[tuple[Any, ...], ...] = ()
        """Once present: the statements by which it appeared, with their arguments; heartbeats repeat them."""

    @asynccontextmanager
    async def present(self, registry: Registry) -> AsyncIterator[None]:
        """Be registered, with the tasks of `registry` published; on leaving, what is still held goes back.

        `released` says how many jobs that were. If the database is away then, others rescue them.
        """
        self.appearing = (
            ("register_worker", self._worker, *self._row),
            ("publish_tasks", self._namespace, _pool_of(registry), _catalog(registry, self._version)),
        )
        for name, *arguments in self.appearing:
            await self._database.fetchval(name, *arguments)
        try:
            yield
        finally:
            with suppress(OpenQueueError):
                self.released = await self._database.fetchval(
                    "leave_worker", self._worker, timeout=LEAVE_TIMEOUT
                )


def _pool_of(registry: Registry) -> str:
    """Workers with the same tasks publish under one key, so that others' entries are never touched."""
    return sha256("\n".join(registry.names).encode()).hexdigest()[:12]


def _catalog(registry: Registry, version: str) -> str:
    return encode(
        [
            {
                "task": one.name,
                "queue": one.defaults.queue,
                "priority": one.defaults.priority,
                "max_attempts": one.defaults.max_attempts,
                "options": one.defaults.describe(),
                "input_schema": one.arguments.schema(),
                "description": one.description,
                "version": version,
            }
            for one in registry
        ]
    )
