"""Says to the database what is due: in batches, of which one that is at fault delays no other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from openqueue.codec import decode, encode
from openqueue.db.pool import Database
from openqueue.errors import ConnectionFailed, OpenQueueError, SchemaError
from openqueue.scheduler.entry import Advance, Entry

__all__ = ["Answer", "Firing", "Sent"]

BATCH: Final = 250
"""Schedules in one statement, which is one transaction."""

AT_ONCE: Final = 2
"""Statements at a time, each on a connection of the pool."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A schedule and how far it goes."""

    entry: Entry
    advance: Advance
    error: str | None = None

    @property
    def text(self) -> str:
        """What fire_ticks is told, as JSON."""
        if self.error is None:
            return self.advance.text
        return encode({**decode(self.advance.text), "error": self.error})


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a tick, or of the schedule as a whole (`at` is None): see fire_ticks.

    `told` is when the answer came, by time.monotonic.
    """

    sent: Sent
    at: datetime | None
    outcome: str
    run_id: UUID | None
    fired: int | None
    told: float


class Firing:
    """Carries out advances; each schedule once in a call."""

    def __init__(self, database: Database, namespace: str, *, batch: int = BATCH) -> None:
        self._database = database
        self._namespace = namespace
        self._batch = batch
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fire(self, sent: Sequence[Sent]) -> tuple[list[Answer], OpenQueueError | None]:
        """Store what was sent, a few batches at a time; answers what is known, and why not all of it is."""
        batches = [sent[start : start + self._batch] for start in range(0, len(sent), self._batch)]
        told = await asyncio.gather(*map(self._in_turn, batches), return_exceptions=True)
        answers: list[Answer] = []
        failure: OpenQueueError | None = None
        for one in told:
            if isinstance(one, OpenQueueError):
                failure = failure or one
            elif isinstance(one, BaseException):
                raise one
            else:
                answers += one
        return answers, failure

    async def _in_turn(self, sent: Sequence[Sent]) -> list[Answer]:
        async with self._turns:
            return await self._halving(sent)

    async def _halving(self, sent: Sequence[Sent]) -> list[Answer]:
        """As one statement; if that is refused, as two, until the one at fault is alone and told why."""
        try:
            return await self._once(sent)
        except (ConnectionFailed, SchemaError):
            raise
        except OpenQueueError as error:
            if len(sent) > 1:
                middle = len(sent) // 2
                return [*await self._halving(sent[:middle]), *await self._halving(sent[middle:])]
            (one,) = sent
            if one.error is not None:
                raise
            return await self._once([Sent(one.entry, one.advance, str(error))])

    async def _once(self, sent: Sequence[Sent]) -> list[Answer]:
        by_key = {one.entry.key: one for one in sent}
        advances = f"[{','.join(one.text for one in sent)}]"
        rows: list[Any] = await self._database.fetch("fire_ticks", self._namespace, advances)
        told = time.monotonic()
        return [Answer(by_key[key], at, outcome, run, fired, told) for key, at, outcome, run, fired in rows]
