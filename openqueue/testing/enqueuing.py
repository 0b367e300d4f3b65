"""Who takes items while a test runs: the client of the event loop, and inline mode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from openqueue.app import default_enqueuer
from openqueue.codec import encode
from openqueue.runs.client import Client
from openqueue.runs.model import Run
from openqueue.tasks.enqueuer import Item
from openqueue.testing.draining import declared_tasks

__all__ = ["TestingEnqueuer"]


class TestingEnqueuer:
    """The default enqueuer of a test. `after` is awaited once something is stored, if it is not None.

    What is part of the caller's transaction is not visible yet: it waits for the next `drain`.
    """

    __test__ = False  # it is no test, whatever pytest makes of its name

    def __init__(self) -> None:
        self.after: Callable[[], Awaitable[object]] | None = None
        self._published: tuple[str, ...] = ()

    async def enqueue(
        self, item: Any, *args: Any, connection: object | None = None, **options: Any
    ) -> Run[Any]:
        """As `Client.enqueue`; a task may be given by name if it is declared in this process."""
        client = await default_enqueuer()
        if isinstance(item, str):
            await self._publish(client)
        run: Run[Any] = await client.enqueue(item, *args, connection=connection, **options)
        if connection is None and self.after is not None:
            await self.after()
        return run

    async def enqueue_many(
        self, items: Iterable[Item[Any]], *, connection: object | None = None
    ) -> list[Run[Any]]:
        """As `Client.enqueue_many`."""
        client = await default_enqueuer()
        runs = await client.enqueue_many(items, connection=connection)
        if connection is None and self.after is not None:
            await self.after()
        return runs

    async def _publish(self, client: Client) -> None:
        """Put the tasks of this process into the catalogue, as a worker would."""
        registry = declared_tasks()
        if registry.names == self._published:
            return
        tasks = [
            {
                "task": one.name,
                "queue": one.defaults.queue,
                "priority": one.defaults.priority,
                "max_attempts": one.defaults.max_attempts,
                "options": one.defaults.describe(),
            }
            for one in registry
        ]
        await client.database.fetchval("publish_tasks", client.namespace, "testing", encode(tasks))
        self._published = registry.names
