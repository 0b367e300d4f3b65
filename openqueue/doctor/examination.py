"""The examination: everything is looked at, each query is read once, and what cannot be read is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from openqueue.db.migrations import State, check
from openqueue.db.pool import Database
from openqueue.doctor.case import Case
from openqueue.doctor.checks import ARGUMENTS, CHECKS, NAMES, Check
from openqueue.doctor.findings import Examination, Finding, Judgement, Report, Row, Severity
from openqueue.doctor.reaching import (
    APPLICATION,
    Reached,
    hears,
    judge_clock,
    judge_connection,
    judge_listening,
    reach,
)
from openqueue.doctor.schema import judge_status
from openqueue.errors import ConnectionFailed, OpenQueueError, SchemaError

__all__ = ["examine"]

T = TypeVar("T")

SESSIONS = 3
"""Connections at once: the server may have few left."""


async def examine(case: Case, only: Collection[str] = ()) -> Examination:
    """Look at everything, or at those checks alone; never raises for what it finds."""
    wanted = set(only or NAMES)
    reports = [*await _Doctor(case).reports(wanted)]
    order = {name: place for place, name in enumerate(NAMES)}
    return Examination(
        tuple(sorted((one for one in reports if one.check in wanted), key=lambda one: order[one.check]))
    )


class _Doctor:
    """One examination. `_asked`: queries on their way or answered, by name."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._asked: dict[str, asyncio.Future[list[Row]]] = {}
        self._fits = self._is_there = True

    async def reports(self, wanted: Collection[str]) -> list[Report]:
        case = self._case
        first = [_settings(case)]
        if case.url is None:
            fault = Finding(
                Severity.CRITICAL,
                case.no_url or "No database is configured.",
                "Nothing can be enqueued, and nothing was looked at.",
                ("export OPENQUEUE_DATABASE_URL=postgresql://user:password@host:5432/database",),
            )
            return [*first, Report("connection", "none", (fault,)), *_not_looked_at(first, wanted)]
        try:
            reached = await _in_time(reach(case.url.get_secret_value(), case.schema, case.timeout), case)
        except OpenQueueError as error:
            first.append(Report("connection", "not reached", (_unreachable(error),)))
            return [*first, *_not_looked_at(first, wanted)]
        first.append(_report("connection", judge_connection(reached, case)))
        first.append(_report("clock", judge_clock(reached, case)))
        return [*first, *await self._inside(reached, wanted)]

    async def _inside(self, reached: Reached, wanted: Collection[str]) -> list[Report]:
        """What takes a connection."""
        case = self._case
        assert case.url is not None
        pooled = case.pooled or reached.pooler == "transaction"
        async with AsyncExitStack() as stack:
            database = Database(
                case.url.get_secret_value(),
                schema=case.schema,
                max_size=SESSIONS,
                timeout=case.timeout,
                application=APPLICATION,
                pooled=pooled,
            )
            try:
                await stack.enter_async_context(database)
            except OpenQueueError as error:
                return [Report("schema", "not reached", (_unreachable(error),))]
            found = [await self._schema(database)]
            if "listen" in wanted:
                found.append(await self._listen(database, reached))
            looked = [one for one in CHECKS if one.name in wanted]
            return [*found, *await asyncio.gather(*(self._look(one, database) for one in looked))]

    async def _schema(self, database: Database) -> Report:
        try:
            async with asyncio.timeout(self._case.timeout), database.connection() as connection:
                status = await check(connection, self._case.schema)
        except (OpenQueueError, TimeoutError) as error:
            return _failed("schema", error)
        self._fits, self._is_there = status.usable, status.state is not State.MISSING
        return _report("schema", judge_status(status))

    async def _listen(self, database: Database, reached: Reached) -> Report:
        """By the way that workers listen; not through a pooler that would give the session to others."""
        case = self._case
        assert case.url is not None
        url, pooler = (case.listen_url or case.url).get_secret_value(), reached.pooler
        try:
            if case.listen_url is not None:
                pooler = (await _in_time(reach(url, case.schema, case.timeout), case)).pooler
            heard = None
            if pooler != "transaction":
                async with database.connection() as connection:
                    heard = await hears(url, case.schema, connection, case.timeout)
        except OpenQueueError as error:
            return Report("listen", "not reached", (_no_listener(error),))
        return _report("listen", judge_listening(heard, pooler, case))

    async def _look(self, one: Check, database: Database) -> Report:
        if one.inside and not self._is_there:
            return Report(one.name, "there is no schema", skipped=True)
        try:
            rows = {name: await self._read(name, database) for name in one.reads}
        except OpenQueueError as error:
            if isinstance(error, SchemaError) and not self._fits:
                return Report(one.name, "the schema does not fit: see there", skipped=True)
            return _failed(one.name, error)
        return _report(one.name, one.judge(rows, self._case))

    async def _read(self, name: str, database: Database) -> list[Row]:
        """The answer of a query, asked once for all who read it."""
        if name not in self._asked:
            arguments = ARGUMENTS[name](self._case) if name in ARGUMENTS else ()
            self._asked[name] = asyncio.ensure_future(self._fetch(database, name, arguments))
        return await self._asked[name]

    async def _fetch(self, database: Database, name: str, arguments: tuple[Any, ...]) -> list[Row]:
        return [dict(row) for row in await database.fetch(name, *arguments)]


async def _in_time(asked: Awaitable[T], case: Case) -> T:
    """What has no end of its own has one here. Raises ConnectionFailed."""
    try:
        async with asyncio.timeout(4 * case.timeout):
            return await asked
    except TimeoutError:
        raise ConnectionFailed("The database takes connections, and does not answer.") from None


def _settings(case: Case) -> Report:
    findings = tuple(
        Finding(
            Severity.WARNING,
            remark,
            "What was meant by it does not hold.",
            ("openqueue config   # which settings are in force, and where each comes from",),
        )
        for remark in case.remarks
    )
    return Report("settings", f"schema {case.schema}, namespace {case.namespace}", findings)


def _report(name: str, judged: Judgement) -> Report:
    return Report(name, judged.said, judged.findings)


def _not_looked_at(reports: Collection[Report], wanted: Collection[str]) -> list[Report]:
    told = {one.check for one in reports} | {"connection"}
    return [
        Report(name, "not looked at: there is no connection", skipped=True)
        for name in NAMES
        if name in wanted and name not in told
    ]


def _unreachable(error: Exception) -> Finding:
    return Finding(
        Severity.CRITICAL,
        str(error),
        "Nobody on this machine can enqueue; workers here wait until it is back, and lose nothing.",
        ("openqueue config   # which URL is in force", "pg_isready   # on the server's machine"),
    )


def _no_listener(error: Exception) -> Finding:
    return Finding(
        Severity.CRITICAL,
        f"Where workers listen and beat: {error}",
        "A worker that cannot beat is taken for dead, and does not start.",
        ("openqueue config   # which listen_dsn is in force",),
    )


def _failed(name: str, error: Exception) -> Report:
    """A check that could not look."""
    said = str(error) or f"{type(error).__name__}"
    why = "What it would have found is not known. Where a right is missing, ask as the schema's owner."
    mend = ("openqueue doctor --only locks,rights",)
    return Report(name, "could not look", (Finding(Severity.WARNING, f"Could not look: {said}", why, mend),))
