"""Stores how attempts ended: a flush at once when none is under way, else what gathered meanwhile together.

A flush whose reply is lost is sent again until its fate is known: the engine says `repeated` for what it
had stored already. `lost` means that the lease was gone; then nothing was written, and that is an event.
`busy` means that somebody else has the job locked: it is tried again by itself, and the others do not wait.
What an attempt said is written before its end is, as its lease ends with it. Where the database refuses a
value, the rest of the batch is stored without it, and the attempt it belongs to fails with the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar
from uuid import UUID

from openqueue.db.faults import is_refused_value
from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Events
from openqueue.runs.outcomes import Outcome
from openqueue.service import running
from openqueue.worker import events as told
from openqueue.worker.job import Job
from openqueue.worker.storing.busy import Busy, Ended
from openqueue.worker.storing.journal import RunJournal, entries_of
from openqueue.worker.storing.refusal import Refusal, divided
from openqueue.worker.storing.tally import Tally
from openqueue.worker.stumbling import Stumbling

__all__ = ["Completer"]

LARGEST_FLUSH: Final = 1_000
LARGEST_BYTES: Final = 16 * 1024 * 1024
"""Of one flush, in outcomes and in characters of JSON: it has to pass within a statement's timeout."""

JOURNAL_EVERY: Final = 0.5
"""Seconds after which what attempts say is written, while none ends."""

T = TypeVar("T")
_STORED: Final = ("applied", "repeated")


class Completer:
    """Writes outcomes, log lines and progress for one worker.

    `lost` hears of the jobs whose lease turned out to be gone; `last_flush` is how many seconds the flush at
    shutdown may take. `next_claim` is asked before a flush: what to call after it, if this worker claims next
    what may begin because the others ended (None: whoever waits is woken). `tally` counts what is stored.
    """

    def __init__(
        self,
        database: Database,
        worker: UUID,
        journal: RunJournal,
        bus: Events,
        *,
        last_flush: float = 10.0,
        lost: Callable[[Job], None] = lambda _: None,
        next_claim: Callable[[], Callable[[], None] | None] = lambda: None,
        tally: Tally | None = None,
    ) -> None:
        self._tally = tally or Tally()
        self._database, self._worker = database, worker
        self._journal = journal
        self._bus, self._last_flush, self._lost = bus, last_flush, lost
        self._next_claim = next_claim
        self._ended, self._busy = list[Ended](), Busy()
        self._arrived = asyncio.Event()
        self._open: Counter[int] = Counter()
        self._closed: list[int] = []
        self._idle, self._working = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._stumbling = Stumbling("completer", bus.emit, database.outage)
        self.unsaved = 0
        self.taken = 0
        """Claims that have brought anything, ever."""

    def claimed(self, claim: int, jobs: int) -> None:
        """A claim has brought so many jobs; it is in flight until each of them has ended or gone back."""
        if jobs:
            self.taken += 1
            self._open[claim] = jobs
            self._idle.clear()
            self._working.set()

    def claims(self) -> list[int]:
        """The claims in flight; may be asked from another thread."""
        return list(self._open)

    async def idle(self) -> None:
        """Return once no claim is in flight."""
        await self._idle.wait()

    def gone(self, job: Job) -> None:
        """A job left without an outcome: given back before it began, or lost."""
        if self._left(job.claim):
            self._closed.append(job.claim)

    def _left(self, claim: int, jobs: int = 1) -> bool:
        """So many jobs less under a claim; says whether they were the last."""
        self._open[claim] -= jobs
        if self._open[claim] > 0:
            return False
        del self._open[claim]
        if not self._open:
            self._idle.set()
            self._working.clear()
        return True

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
            if not (self._ended or self._busy or len(self._journal)):
                await self._working.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._busy.wait(JOURNAL_EVERY)):
                    await self._arrived.wait()
            self._arrived.clear()
            try:
                await self.once()
            except OpenQueueError as error:
                self._arrived.set()
                await self._stumbling.pause(error)
            else:
                self._stumbling.recover()

    async def once(self) -> int:
        """One flush of everything that is there; answers how many outcomes were sent."""
        stored = 0
        while batch := self._take() or self._busy.take():
            stored += len(batch)
            await self._store(batch)
        await self._write_journal()
        return stored

    def _take(self) -> list[Ended]:
        """The next batch: what has ended by now, bounded in number and bytes."""
        size = 0
        for place, (_, outcome) in enumerate(self._ended):
            size += len(outcome.output or "") + len(outcome.error or "")
            if place and (place == LARGEST_FLUSH or size > LARGEST_BYTES):
                batch, self._ended = self._ended[:place], self._ended[place:]
                return batch
        batch, self._ended = self._ended, []
        return batch

    async def _store(self, batch: list[Ended]) -> None:
        """Store a batch; if a value in it is refused, by halves, until only what is refused is left."""
        parts = [batch]
        try:
            await self._write_journal()
            while parts:
                part = parts[-1]
                try:
                    verdicts = await self._finish(part)
                except OpenQueueError as error:
                    if not is_refused_value(error):
                        raise
                    parts[-1:] = divided(part, error)
                    if isinstance(part[0][1], Refusal) and len(part) == 1:
                        self._lose_outcome(part[0][0], part[0][1].instead_of)
                else:
                    parts.pop()
                    self._account(part, verdicts)
        finally:
            self._ended = [one for part in reversed(parts) for one in part] + self._ended

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Flush beside the body; on leaving it, store what is left, within the last flush's bound."""
        try:
            async with running(self):
                yield
        finally:
            await self._flush_last()

    async def _flush_last(self) -> None:
        try:
            async with asyncio.timeout(self._last_flush):
                while self._ended or self._busy or len(self._journal):
                    try:
                        if not await self.once():
                            await asyncio.sleep(self._busy.wait(JOURNAL_EVERY))
                    except OpenQueueError as error:
                        await self._stumbling.pause(error)
        except TimeoutError:
            pass
        finally:
            for job, outcome in [*self._ended, *self._busy.take_all()]:
                self._lose_outcome(job, outcome)

    def _lose_outcome(self, job: Job, outcome: Outcome) -> None:
        self.unsaved += 1
        self._bus.emit(told.OutcomeUnsaved(job.id, job.task, outcome.kind, outcome.output, outcome.error))

    async def _write_journal(self) -> None:
        """Write what was said until now."""
        if dropped := self._journal.dropped():
            self._bus.emit(told.RunLogDropped(dropped))
        now = time.monotonic()
        self._journal.settle(now)
        while entries := self._journal.take():
            try:
                lost = await self._database.fetchval(
                    "log_runs", self._worker, *entries_of(entries, time.monotonic())
                )
            except OpenQueueError as error:
                if not is_refused_value(error):
                    self._journal.give_back(entries)
                    raise
                self._journal.divide(entries)
                continue
            except BaseException:
                self._journal.give_back(entries)
                raise
            for job in {entry.job for entry in entries}:
                if job.id in lost:
                    self._lost(job)
            if entries[-1].at > now:
                return

    async def _finish(self, batch: list[Ended]) -> list[str]:
        now = time.monotonic()
        claim = self._next_claim()
        leftover = len(self._closed)
        closing = self._closing(batch)
        plain = all(outcome.kind == "completed" for _, outcome in batch)
        verdicts: list[str] = await self._database.fetchval(
            "finish_jobs",
            self._worker,
            [job.id for job, _ in batch],
            _one_for_all([job.claim for job, _ in batch]),
            ["completed"] if plain else [outcome.kind for _, outcome in batch],
            _one_for_all([outcome.output for _, outcome in batch]),
            None if plain else [outcome.error for _, outcome in batch],
            None if plain else [outcome.delay for _, outcome in batch],
            [now - job.started_at for job, _ in batch],
            [now - job.finished_at for job, _ in batch],
            closing or None,
            claim is not None,
        )
        del self._closed[:leftover]
        if claim is not None:
            claim()
        self._bus.emit(told.OutcomesStored(len(batch), time.monotonic() - now))
        return verdicts

    def _closing(self, batch: list[Ended]) -> list[int]:
        """The claims of which nothing is left once this batch is stored."""
        ending = Counter(job.claim for job, _ in batch)
        return self._closed + [claim for claim, jobs in ending.items() if self._open[claim] <= jobs]

    def _account(self, batch: list[Ended], verdicts: list[str]) -> None:
        wanted = self._bus.wants(told.RunFinished)
        if not (wanted or self._busy.unsettled) and verdicts.count("applied") == len(verdicts):
            self._tally.count(batch)
            for claim, jobs in Counter(job.claim for job, _ in batch).items():
                self._left(claim, jobs)
            return
        self._tally.count(one for one, verdict in zip(batch, verdicts, strict=True) if verdict in _STORED)
        for (job, outcome), verdict in zip(batch, verdicts, strict=True):
            if verdict == "busy":
                self._busy.put(job, outcome)
                continue
            self._busy.settled(job)
            self._left(job.claim)
            if verdict == "lost":
                self._bus.emit(told.LeaseWasLost(job.id, job.task, f"storing that it {outcome.kind}"))
            elif wanted:
                self._tell(job, outcome)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        row, took = job.row, job.finished_at - job.started_at
        what = (outcome.kind, took, outcome.error, outcome.delay)
        self._bus.emit(told.RunFinished(job.id, job.task, row["queue"], row["attempt"], *what))


def _one_for_all(values: list[T]) -> list[T]:
    """What `finish_jobs` takes for many equal values: one of them."""
    return values[:1] if values.count(values[0]) == len(values) else values
