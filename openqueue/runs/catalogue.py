"""What workers have published of tasks: asked where a task is enqueued by its name."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openqueue.codec import decode
from openqueue.db.pool import Database
from openqueue.errors import InvalidArguments, UnknownTask, did_you_mean
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.published import Published

__all__ = ["Catalogue"]

KEPT: Final = 30.0
"""Seconds for which what is known of a task is used without asking again; not to refuse by it."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the pools of a task have published; each its own, as they may run different code."""

    pools: Sequence[Published]
    until: float

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise InvalidArguments unless one of them takes the arguments."""
        first: InvalidArguments | None = None
        for published in self.pools:
            try:
                published.check(arguments)
            except InvalidArguments as error:
                first = first or error
            else:
                return
        if first is not None:
            raise first


class Catalogue:
    """The tasks of a namespace, remembered for a while."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace
        self._known: dict[str, _Entry] = {}

    async def check(self, item: Item[Any], *, allow_unknown: bool = False) -> None:
        """Raise UnknownTask or InvalidArguments for an item that no worker would take.

        What no worker has published, and is allowed to be unknown, is not checked.
        """
        arguments = decode(item.input, what="input")
        entry = self._known.get(item.task)
        if entry is not None and entry.until > time.monotonic():
            try:
                entry.check(arguments)
            except InvalidArguments:  # by what is published now?
                pass
            else:
                return
        entry = await self._ask(item.task)
        if entry.pools:
            entry.check(arguments)
        elif not allow_unknown:
            raise await self._unknown(item.task)

    async def _ask(self, task: str) -> _Entry:
        rows = await self._database.fetch("published_inputs", self._namespace, task)
        schemas = [decode(row["input_schema"]) if row["input_schema"] else None for row in rows]
        entry = _Entry([Published(task, schema) for schema in schemas], time.monotonic() + KEPT)
        if rows:
            self._known[task] = entry
        else:
            self._known.pop(task, None)
        return entry

    async def _unknown(self, task: str) -> UnknownTask:
        rows = await self._database.fetch("known_tasks", self._namespace)
        hint = did_you_mean(task, [row["task"] for row in rows])
        return UnknownTask(
            f"No worker has published a task named {task!r} in namespace {self._namespace!r}.{hint}"
            " Start a worker that has it, or pass allow_unknown=True: it will wait for one.",
            task=task,
        )
