"""What is said at run time of queues, tasks, concurrency keys and groups: `client.controls`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from openqueue.control.changes import KEPT, Change, Kept, limited, paused, resumed, scope, shared
from openqueue.control.model import Control, Fairness
from openqueue.db.connections import Executor, adapt
from openqueue.db.pool import Database
from openqueue.durations import Duration
from openqueue.rates import RateWords

__all__ = ["Controls"]


class Controls:
    """Limits, rates, fairness and pauses of a namespace. They hold at once, for all workers.

    What is said here goes before what settings and code say, value by value; None takes back what was said
    here. With `connection` it is part of the caller's transaction, as an enqueue is.
    """

    def __init__(self, database: Database, namespace: str = "default") -> None:
        self._database = database
        self._namespace = namespace

    async def pause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        group: tuple[str, str] | None = None,
        everything: bool = False,
        until: Duration | datetime | None = None,
        reason: str | None = None,
        connection: object | None = None,
    ) -> None:
        """Let nothing more begin of a queue, a task, a group (with its queue) or at all. What runs goes on.

        `until`: for how long, by the database's clock, or a moment; None: until it is resumed.
        """
        one = scope(queue=queue, task=task, group=group, everything=everything)
        await self.say([paused(one, until, reason)], connection)

    async def resume(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        group: tuple[str, str] | None = None,
        everything: bool = False,
        connection: object | None = None,
    ) -> None:
        """End that pause. Others stay: a queue that is resumed waits as long as everything is paused."""
        one = scope(queue=queue, task=task, group=group, everything=everything)
        await self.say([resumed(one)], connection)

    async def limit(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        key: str | None = None,
        concurrency: int | Kept | None = KEPT,
        rate: RateWords | Kept | None = KEPT,
        burst: int | None = None,
        connection: object | None = None,
    ) -> None:
        """Limit how many run at once, how many begin in a period ('100/1m'), or both, in all processes.

        `burst`: how many of a rate may begin at once; without it they are spread evenly. What is not given
        stays as it is, None takes it back.
        """
        one = scope(queue=queue, task=task, key=key)
        await self.say([limited(one, concurrency, rate, burst)], connection)

    async def fairness(
        self,
        queue: str,
        fairness: Fairness | Kept | None = KEPT,
        /,
        *,
        weights: Mapping[str, float | None] | None = None,
        ageing: Duration | Kept | None = KEPT,
        connection: object | None = None,
    ) -> None:
        """How those that wait in a queue take turns.

        'strict' is the order of priority and arrival; 'round_robin' lets the groups of each priority take
        turns, 'weighted' by their `weights` (1 unless said; of those not named nothing changes). With
        `ageing` a waiting job gains one level of priority each time that long.
        """
        await self.say(shared(queue, fairness, weights, ageing), connection)

    async def list(self) -> Sequence[Control]:
        """All of which anything holds, with what it is and who said it."""
        return await self.of()

    async def of(self, kind: str | None = None, name: str | None = None) -> Sequence[Control]:
        """The same, only of this kind ('queue', 'task', 'key', 'group', 'all') and of this name."""
        rows = await self._database.fetch("controls_in_force", self._namespace, kind, name)
        return [Control.of(dict(row)) for row in rows]

    async def say(self, changes: Sequence[Change], connection: object | None = None) -> None:
        """Say several things together, all or none: what the calls above are made of."""
        executor: Executor | Any = self._database if connection is None else adapt(connection)
        columns: list[list[Any]] = [
            list(column) for column in zip(*(one.row() for one in changes), strict=True)
        ]
        await executor.fetch(self._database.text("set_controls"), self._namespace, *columns)
