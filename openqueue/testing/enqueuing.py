"""Who takes items while a test runs: the client of the event loop, and inline mode."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from openqueue import clients
from openqueue.clients import default_enqueuer
from openqueue.codec import encode
from openqueue.runs.model import Run
from openqueue.tasks.enqueuer import Item
from openqueue.testing.draining import declared_tasks
from openqueue.testing.portal import Portal

__all__ = ["TestingEnqueuer", "TestingSyncEnqueuer"]


class TestingEnqueuer:
    """The default enqueuer of a test. `after` is awaited once something is stored, if it is not None.

    What is part of the caller's transaction is not visible yet: it waits for the next `drain`.
    """

    __test__ = False  # it is no test, whatever pytest makes of its name

    def __init__(self) -> None:
        self.after: Callable[[], Coroutine[Any, Any, object]] | None = None
        self._published: tuple[str, ...] = ()

    async def enqueue(
        self, item: Any, *args: Any, connection: object | None = None, **options: Any
    ) -> Run[Any]:
        """As `Client.enqueue`; a task may be given by name if it is declared in this process."""
        client = await default_enqueuer()
        if isinstance(item, str):
            await self.publish()
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

    async def publish(self) -> None:
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
        client = await default_enqueuer()
        await client.database.fetchval("publish_tasks", client.namespace, "testing", encode(tasks))
        self._published = registry.names


class TestingSyncEnqueuer:
    """The same for code that cannot await. What follows an enqueue is done in the loop of the portal."""

    __test__ = False

    def __init__(self, asynchronous: TestingEnqueuer, portal: Portal) -> None:
        self._asynchronous = asynchronous
        self._portal = portal

    def enqueue(self, item: Any, *args: Any, connection: object | None = None, **options: Any) -> Run[Any]:
        """As `SyncClient.enqueue`; a task may be given by name if it is declared in this process."""
        if isinstance(item, str):
            self._portal.call(self._asynchronous.publish())
        run: Run[Any] = clients.default_sync_client.enqueue(item, *args, connection=connection, **options)
        self._follow(connection)
        return run

    def enqueue_many(self, items: Iterable[Item[Any]], *, connection: object | None = None) -> list[Run[Any]]:
        """As `SyncClient.enqueue_many`."""
        runs = clients.default_sync_client.enqueue_many(items, connection=connection)
        self._follow(connection)
        return runs

    def _follow(self, connection: object | None) -> None:
        after = self._asynchronous.after
        if connection is None and after is not None:
            self._portal.call(after())
