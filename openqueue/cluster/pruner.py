"""Removes the history that need not be kept: whole months where all in them may go, else runs.

No batch takes longer than a moment, and between two of them there is a pause of as long as one took, so that
who enqueues and claims has the server to itself half of the time. Nothing here waits for a lock that they
hold, nor they for one of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from openqueue.cluster.archive import Archive
from openqueue.cluster.events import HistoryPruned
from openqueue.cluster.months import Months
from openqueue.cluster.retention import Dropped, Pruned, Retention, Size, arrays
from openqueue.cluster.rounds import portions, rounds
from openqueue.db.faults import sqlstate
from openqueue.db.pool import Database
from openqueue.db.target import Target
from openqueue.errors import ConnectionFailed, OpenQueueError
from openqueue.events import Emit

__all__ = ["BATCH", "Pruner", "next_size"]

EVERY: Final = 3600.0
AFTER_START: Final = 60.0
"""Seconds between two prunes of a leader, and until the first one at most."""

BATCH: Final = 1_000
"""Runs that a batch looks at, at most; a transaction of some 50 ms."""

AIM: Final = 0.1
SLOW: Final = 0.5
"""Seconds that a batch should take, and from which on the next one is smaller: runs may have logged much."""

SMALLER: Final = 5
"""By how much the next one is, of a batch that did not end in time."""

SMALLEST_PAUSE: Final = 0.005
LINES_AT_ONCE: Final = 50
"""Of an archive: what is kept in memory of it."""

FROZEN: Final = "55006"
LATE: Final = "57014"
FIRST: Final = UUID(int=0)
LAST: Final = UUID(int=2**128 - 1)


class Pruner:
    """Prunes one namespace by what `retention` says; as a service once an hour, by the one who leads.

    `target` is a way to the database on which a session is one's own: months are dropped over it.
    """

    def __init__(
        self,
        database: Database,
        target: Target,
        namespace: str,
        emit: Emit,
        *,
        retention: Retention | None = None,
        batch: int = BATCH,
        patience: float = 60.0,
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._emit = emit
        self._retention = retention or Retention()
        self._batch = batch
        self._months = Months(target, database.statements, namespace, patience=patience)

    async def run(self) -> None:
        """Prune every hour, until cancelled; what could not be done is done the next time."""
        first = AFTER_START * random.random()
        await rounds(self.once, duty="prune", every=EVERY, emit=self._emit, first=first)

    async def once(self) -> Pruned:
        """Prune all that there is to prune."""
        return await self.prune(self._retention)

    async def prune(
        self,
        retention: Retention,
        *,
        dry_run: bool = False,
        archive: Path | None = None,
        progress: Callable[[Pruned], object] = lambda _: None,
    ) -> Pruned:
        """Remove what `retention` does not keep; with `archive` only what was written to that file before.

        Named `….parquet` it is Parquet. Raises InvalidOption for one that is there already or cannot be made.
        """
        begin = time.monotonic()
        report = Pruned(dry_run=dry_run, before=await self._sizes())
        if archive is None or dry_run:
            await self._prune(retention, report, None, progress)
        else:
            with Archive(archive) as file:
                await self._prune(retention, report, file, progress)
                await asyncio.to_thread(file.finish)
        report.after = report.before if dry_run else await self._sizes()
        report.seconds = time.monotonic() - begin
        if not dry_run and (report.runs or report.ticks or any(not one.waits for one in report.months)):
            self._emit(_event(report))
        return report

    async def _prune(
        self,
        retention: Retention,
        report: Pruned,
        archive: Archive | None,
        progress: Callable[[Pruned], object],
    ) -> None:
        if any(rule.older_than is not None for rule in retention.rules):
            keep = (
                None if archive is None else lambda low, high: self._archive_month(low, high, archive, report)
            )
            await self._months.drop(retention.rules, report, archive=keep)
            progress(report)
            if not retention.whole_months:
                await self._remove(retention, report, archive, progress)
        if not report.dry_run:
            await self._remove_rest(retention, report)

    async def _remove(
        self,
        retention: Retention,
        report: Pruned,
        archive: Archive | None,
        progress: Callable[[Pruned], object],
    ) -> None:
        """The runs that no month takes with it, in batches."""
        answered = await self._database.fetchval("first_answered")
        rules = arrays(retention.rules)
        size = self._batch
        for first, until in _between(report.months if report.dry_run else ()):
            last: UUID | None = first
            while last is not None:
                asked = (self._namespace, *rules, last, until, size, answered)
                begin = time.monotonic()
                try:
                    last = await self._one_batch(asked, report, archive)
                except OpenQueueError as error:
                    if size == 1 or not _is_late(error):
                        raise
                    size = max(1, size // SMALLER)
                    continue
                took = time.monotonic() - begin
                size = next_size(size, took, self._batch)
                progress(report)
                if last is not None:
                    await asyncio.sleep(max(took, SMALLEST_PAUSE))

    async def _one_batch(
        self, asked: tuple[Any, ...], report: Pruned, archive: Archive | None, tries: int = 5
    ) -> UUID | None:
        """One batch; again if a month was frozen by another one between the look and the removal."""
        try:
            if archive is not None:
                return await self._archive_batch(asked, report, archive)
            row = await self._database.fetchrow("prune_batch", *asked, report.dry_run)
        except Exception as error:
            if tries and sqlstate(error.__cause__ or error) == FROZEN:
                return await self._one_batch(asked, report, archive, tries - 1)
            raise
        assert row is not None
        report.add(json.loads(row["ends"]), row["attempts"] or 0, row["lines"] or 0)
        last: UUID | None = row["last"]
        return last

    async def _archive_batch(self, asked: tuple[Any, ...], report: Pruned, archive: Archive) -> UUID | None:
        """Lock them, write them, remove exactly these: one transaction."""
        gone: Any = None
        try:
            async with self._database.transaction() as connection:
                picked: Any = await connection.fetchrow(self._database.statements["pick_ended"], *asked)
                if picked["ids"]:
                    gone = await self._write_and_remove(connection, picked["ids"], archive)
        except OpenQueueError as error:
            if gone is None:
                raise
            # At the commit: they may be gone. Without its cause, by which it would be tried again.
            raise ConnectionFailed(str(error)) from None
        if gone is not None:
            report.archived += len(picked["ids"])
            report.add(Counter(picked["ends"]), gone["attempts"], gone["lines"])
        last: UUID | None = picked["last"]
        return last

    async def _write_and_remove(self, connection: Any, ids: list[UUID], archive: Archive) -> Any:
        mark = archive.mark()
        try:
            await self._write(connection, ids, archive)
            return await connection.fetchrow(self._database.statements["remove_ended"], ids)
        except Exception:  # whatever it is, these are not removed
            archive.take_back(mark)
            raise

    async def _archive_month(self, low: UUID, high: UUID, archive: Archive, report: Pruned) -> None:
        """All runs of a month that is frozen."""
        after, at_once = UUID(int=low.int - 1), LINES_AT_ONCE
        while True:
            ids: list[UUID] = []
            before = archive.lines
            try:
                async with self._database.connection() as connection:
                    text = self._database.statements["runs_between"]
                    ids = await connection.fetchval(text, after, high, self._batch)
                    await self._write(connection, ids, archive, at_once)
            except OpenQueueError as error:
                if at_once == 1 or not _is_late(error):
                    raise
                at_once = max(1, at_once // SMALLER)
            else:
                if not ids:
                    return
                at_once = min(LINES_AT_ONCE, 2 * at_once)  # each write is forced to the disk
            if written := archive.lines - before:
                report.archived += written
                after = ids[written - 1]

    async def _write(
        self, connection: Any, ids: list[UUID], archive: Archive, at_once: int = LINES_AT_ONCE
    ) -> None:
        text = self._database.statements["archived"]
        rest = iter(ids)
        while some := list(islice(rest, at_once)):
            rows = await connection.fetch(text, some)
            await asyncio.to_thread(archive.add, [row[0] for row in rows])

    async def _remove_rest(self, retention: Retention, report: Pruned) -> None:
        report.keys = await self._all("forget_idempotency", 10_000)
        report.workers = int(await self._database.fetchval("forget_workers"))
        if retention.ticks is not None:
            report.ticks = await self._all("prune_ticks", 10_000, retention.ticks)

    async def _all(self, statement: str, most: int, *arguments: timedelta) -> int:
        """Repeat it until it removes less than it may."""
        return await portions(
            lambda: self._database.fetchval(statement, *arguments, most), least=most, pause=SMALLEST_PAUSE
        )

    async def _sizes(self) -> dict[str, Size]:
        rows: Iterable[Any] = await self._database.fetch("history_sizes")
        return {row["relation"]: Size(row["rows"], row["dead"], row["bytes"]) for row in rows}


def next_size(size: int, seconds: float, most: int) -> int:
    """How many runs the next batch looks at, if one of `size` took so long. Pure."""
    if seconds > SLOW:
        return max(1, int(size * AIM / seconds))
    return min(most, 2 * size) if seconds < AIM else size


def _is_late(error: OpenQueueError) -> bool:
    """Whether a statement did not end in time, by this side's clock or by the server's."""
    return isinstance(error.__cause__, TimeoutError) or sqlstate(error.__cause__ or error) == LATE


def _between(months: Iterable[Dropped]) -> list[tuple[UUID, UUID]]:
    """The ranges of ids (after, before) that these months leave. Pure."""
    ordered = sorted(months, key=lambda one: one.low.int)
    starts = [FIRST, *(UUID(int=one.high.int - 1) for one in ordered)]
    return list(zip(starts, [*(one.low for one in ordered), LAST], strict=True))


def _event(report: Pruned) -> HistoryPruned:
    return HistoryPruned(
        runs=report.removed,
        attempts=report.attempts,
        log_lines=report.log_lines,
        ticks=report.ticks,
        months=tuple(one.month for one in report.months if one.waits is None),
        waiting=tuple(one.month for one in report.months if one.waits is not None),
        seconds=report.seconds,
    )
