"""Drops months of the history as a whole; the steps and why they are safe: `sql/engine/months.sql`.

On a session of its own, that never stands in a queue for a lock longer than 100 ms: who would wait behind
it waits no longer than that. A step that does not get its lock is tried again; what is not done within
`patience` is found and done by the next one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar
from uuid import UUID

from openqueue.cluster.retention import Dropped, Pruned, Rule, arrays
from openqueue.db.faults import mapped, sqlstate
from openqueue.db.statements import Statements
from openqueue.db.target import Connection, Target, connect

__all__ = ["Months"]

LONG: Final = 6 * 3600.0
"""Seconds that a statement may take: to read a whole month, or to wait for those who read it."""

PAUSES: Final = (0.05, 1.0)
"""Seconds between tries, doubling."""

YOUNG: Final = "it is not old enough"
LOCKED: Final = ("55P03", "40P01")
NO_OWNER: Final = "42501"

T = TypeVar("T")
Archiving = Callable[[UUID, UUID], Awaitable[None]]


class Months:
    """Drops the months in which all may go, by rules, of one namespace.

    `target` is a way to the database on which a session is one's own; through a pooler in transaction mode
    nothing is dropped, and the report says so. `patience`: seconds that one month may take to get its locks.
    """

    def __init__(
        self, target: Target, statements: Statements, namespace: str, *, patience: float = 60.0
    ) -> None:
        self._target = target
        self._statements = statements
        self._namespace = namespace
        self._patience = patience

    async def drop(self, rules: Sequence[Rule], report: Pruned, *, archive: Archiving | None = None) -> None:
        """Drop what may go, oldest first, and tell it in the report; with `dry_run` only tell.

        `archive` is called with the bounds of a month's ids when nothing in it can change any more.
        """
        if self._target.pooled:
            report.kept["*"] = (
                "a pooler in transaction mode is in between: set listen_dsn to the server itself"
            )
            return
        async with self._session() as session:
            if not report.dry_run and not await self._value(session, "lock_months"):
                report.kept["*"] = "another prune drops months just now"
                return
            for month in await session.fetch(self._statements["history_months"]):
                await self._consider(session, month, rules, report, archive)

    async def _consider(
        self,
        session: Connection,
        month: Any,
        rules: Sequence[Rule],
        report: Pruned,
        archive: Archiving | None,
    ) -> None:
        name = f"{month['month'][:4]}-{month['month'][4:]}"
        found = Dropped(name, month["rows"] or 0, month["bytes"], month["low"], month["high"])
        try:
            reason = await self._why_not(session, month, rules, dry_run=report.dry_run)
            if reason is None and not report.dry_run:
                await self._drop(session, month, archive)
        except Exception as error:
            waits = _why_not_now(error)
            if waits is None:
                raise
            report.months.append(replace(found, waits=waits))
            return
        if reason is None:
            report.months.append(found)
        elif reason != YOUNG:
            report.kept[found.month] = reason

    async def _why_not(
        self, session: Connection, month: Any, rules: Sequence[Rule], *, dry_run: bool
    ) -> str | None:
        """Why a month has to stay; None: it can go, and nothing can be written to it any more."""
        name, state = month["month"], month["state"]
        if state in ("detaching", "detached"):
            return None
        reason = await self._why_it_stays(session, name, rules)
        if dry_run:
            return reason
        if reason is None:
            return await self._frozen(session, name, rules)
        if state == "frozen":
            await self._patiently(lambda: self._value(session, "thaw_month", name))
        return reason

    async def _drop(self, session: Connection, month: Any, archive: Archiving | None) -> None:
        if archive is not None and month["state"] in ("attached", "frozen"):
            await archive(month["low"], month["high"])
        await self._retire(session, month["month"])

    async def _frozen(self, session: Connection, month: str, rules: Sequence[Rule]) -> str | None:
        """Let nothing be written to a month, and look again: what came while it was read is seen now."""
        if not await self._patiently(lambda: self._value(session, "freeze_month", month)):
            return "a run in it is not finished"
        reason = await self._why_it_stays(session, month, rules)
        if reason is not None:
            await self._patiently(lambda: self._value(session, "thaw_month", month))
        return reason

    async def _retire(self, session: Connection, month: str) -> None:
        while statement := await self._patiently(lambda: self._value(session, "retire_month", month)):
            await self._patiently(lambda step=statement: self._step(session, month, step))  # type: ignore[misc]

    async def _step(self, session: Connection, month: str, statement: str) -> None:
        """One statement outside of a transaction. Interrupted, the next one may be another."""
        try:
            await session.execute(statement, timeout=LONG)
        except Exception as error:
            if sqlstate(error) not in LOCKED:
                raise
            again = await self._value(session, "retire_month", month)
            if again == statement:
                raise

    async def _why_it_stays(self, session: Connection, month: str, rules: Sequence[Rule]) -> str | None:
        reason: str | None = await self._value(
            session, "why_month_stays", month, self._namespace, *arrays(rules)
        )
        return reason

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do it; where a lock is not to be had, again and again, until patience ends."""
        until = time.monotonic() + self._patience
        pause, longest = PAUSES
        while True:
            try:
                return await step()
            except Exception as error:
                if sqlstate(error) not in LOCKED or time.monotonic() > until:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, longest)

    async def _value(self, session: Connection, statement: str, *arguments: Any) -> Any:
        return await session.fetchval(self._statements[statement], *arguments, timeout=LONG)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        place = str(self._target.place)
        session = await connect(self._target, application="openqueue prune")
        try:
            await session.fetch(self._statements["lock_for_an_instant"])
            yield session
        except Exception as error:
            raise mapped(error, place, doing="prune") from error
        finally:
            await session.close(timeout=5)


def _why_not_now(error: Exception) -> str | None:
    """Why a month is not dropped this time, if that is no reason to stop."""
    if sqlstate(error) in LOCKED:
        return "somebody still reads it: it goes next time"
    if sqlstate(error) == NO_OWNER:
        return "only the owner of the tables may drop it: its runs are removed one by one"
    return None
