"""Stores how attempts ended: a flush at once when none is under way, else what gathered meanwhile together.

A flush whose reply is lost is sent again until its fate is known: the engine says `repeated` for what it had
stored already. `lost` means that the lease was gone; then nothing was written, and that is an event.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Events
from openqueue.runs.outcomes import Outcome
from openqueue.worker.events import LeaseWasLost, OutcomeUnsaved, RunFinished
from openqueue.worker.job import Job
from openqueue.worker.journal import RunJournal, entries_of
from openqueue.worker.stumbling import Stumbling

__all__ = ["Completer"]

LARGEST_FLUSH: Final = 1_000
JOURNAL_EVERY: Final = 0.5

Ended = tuple[Job, Outcome]


class Completer:
    """Writes outcomes, log lines and progress for one worker.

    `lost` hears of the jobs whose lease turned out to be gone; `last_flush` is how many seconds the flush at
    shutdown may take.
    """

    def __init__(
        self,
        database: Database,
        worker: UUID,
        journal: RunJournal,
        bus: Events,
        *,
        last_flush: float = 10.0,
        lost: Callable[[UUID], None] = lambda run_id: None,
    ) -> None:
        self._database = database
        self._worker = worker
        self._journal = journal
        self._bus = bus
        self._last_flush = last_flush
        self._lost = lost
        self._ended: list[Ended] = []
        self._arrived = asyncio.Event()
        self._open: Counter[int] = Counter()
        self._closed: list[int] = []
        self._stumbling = Stumbling("completer", bus.emit)
        self.unsaved = 0

    def claimed(self, claim: int, jobs: int) -> None:
        """A claim has brought so many jobs; it is in flight until each of them has ended or gone back."""
        if jobs:
            self._open[claim] = jobs

    def claims(self) -> list[int]:
        """The claims in flight; may be asked from another thread."""
        return list(self._open)

    def gone(self, job: Job) -> None:
        """A job left without an outcome: given back before it began, or lost."""
        self._open[job.claim] -= 1
        if self._open[job.claim] <= 0:
            del self._open[job.claim]
            self._closed.append(job.claim)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """An attempt has ended. Of one whose lease is gone nothing is written."""
        if job.lost:
            self.gone(job)
            return
        self._ended.append((job, outcome))
        self._arrived.set()

    async def run(self) -> None:
        """Flush whenever there is something, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(JOURNAL_EVERY if len(self._journal) else None):
                    await self._arrived.wait()
            except TimeoutError:
                pass
            self._arrived.clear()
            try:
                await self.once()
            except OpenQueueError as error:
                self._arrived.set()
                await asyncio.sleep(self._stumbling.stumble(error))
            else:
                self._stumbling.recover()

    def nudge(self) -> None:
        """Look at the journal: something was written into it."""
        self._arrived.set()

    async def once(self) -> int:
        """One flush of everything that is there; answers how many outcomes were stored."""
        await self._write_journal()
        stored = 0
        while self._ended:
            batch, self._ended = self._ended[:LARGEST_FLUSH], self._ended[LARGEST_FLUSH:]
            try:
                verdicts = await self._finish(batch)
            except BaseException:
                self._ended = batch + self._ended
                raise
            self._account(batch, verdicts)
            stored += len(batch)
        return stored

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Flush beside the body; on leaving it, store what is left, within the last flush's bound."""
        flushing = asyncio.create_task(self.run(), name="openqueue:completer")
        try:
            yield
        finally:
            flushing.cancel()
            await asyncio.wait([flushing])
            await self._flush_last()

    async def _flush_last(self) -> None:
        try:
            async with asyncio.timeout(self._last_flush):
                while self._ended or len(self._journal):
                    try:
                        await self.once()
                    except OpenQueueError as error:
                        await asyncio.sleep(self._stumbling.stumble(error))
        except TimeoutError:
            self.unsaved = len(self._ended)
            for job, outcome in self._ended:
                self._bus.emit(OutcomeUnsaved(job.id, job.task, outcome.kind, outcome.output, outcome.error))

    async def _write_journal(self) -> None:
        while entries := self._journal.take():
            try:
                lost = await self._database.fetchval(
                    "log_runs", self._worker, *entries_of(entries, time.monotonic())
                )
            except BaseException:
                self._journal.give_back(entries)
                raise
            for run_id in lost:
                self._lost(run_id)

    async def _finish(self, batch: list[Ended]) -> list[str]:
        now = time.monotonic()
        leftover = len(self._closed)
        closing = self._closing(batch)
        kinds = {outcome.kind for _, outcome in batch}
        plain = kinds == {"completed"}
        verdicts: list[str] = await self._database.fetchval(
            "finish_jobs",
            self._worker,
            [job.id for job, _ in batch],
            [job.claim for job, _ in batch],
            ["completed"] if plain else [outcome.kind for _, outcome in batch],
            [outcome.output for _, outcome in batch],
            None if plain else [outcome.error for _, outcome in batch],
            None if plain else [outcome.delay for _, outcome in batch],
            [now - job.started_at for job, _ in batch],
            [now - job.finished_at for job, _ in batch],
            closing or None,
        )
        del self._closed[:leftover]
        return verdicts

    def _closing(self, batch: list[Ended]) -> list[int]:
        """The claims of which nothing is left once this batch is stored."""
        ending = Counter(job.claim for job, _ in batch)
        return self._closed + [claim for claim, jobs in ending.items() if self._open[claim] <= jobs]

    def _account(self, batch: list[Ended], verdicts: list[str]) -> None:
        told = self._bus.wants(RunFinished)
        for (job, outcome), verdict in zip(batch, verdicts, strict=True):
            self._open[job.claim] -= 1
            if self._open[job.claim] <= 0:
                del self._open[job.claim]
            if verdict == "lost":
                self._bus.emit(LeaseWasLost(job.id, job.task, f"storing that it {outcome.kind}"))
            elif told:
                self._tell(job, outcome)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        row: Any = job.row
        self._bus.emit(
            RunFinished(
                job.id,
                job.task,
                row["queue"],
                row["attempt"],
                outcome.kind,
                job.finished_at - job.started_at,
                outcome.error,
                outcome.delay,
            )
        )
