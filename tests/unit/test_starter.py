"""When the starts of jobs are looked for: while there are any."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from openqueue.service import running
from openqueue.worker import starter
from openqueue.worker.job import Job
from openqueue.worker.starter import Starter

ROUNDS = 50


class Worker:
    """Counts how often somebody looks at what runs."""

    database: Any = type("NoDatabase", (), {"outage": None})()

    def __init__(self) -> None:
        self.busy = False
        self.brought = asyncio.Event()
        self.looks = 0
        self.starter = Starter(
            self.database,
            uuid4(),
            running=self.running,
            busy=lambda: self.busy,
            brought=self.brought,
            lost=lambda _job: None,
            emit=lambda _event: None,
        )

    def running(self) -> Sequence[Job]:
        self.looks += 1
        return ()

    async def looks_within(self, rounds: int) -> int:
        """How often, while the event loop goes round so many times."""
        before = self.looks
        for _ in range(rounds):
            await asyncio.sleep(0)
        return self.looks - before


async def test_a_worker_without_jobs_is_not_looked_at_until_a_claim_brings_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starter, "EVERY", 0)
    worker = Worker()
    async with running(worker.starter):
        await worker.looks_within(ROUNDS)
        assert await worker.looks_within(ROUNDS) == 0
        worker.brought.set()
        worker.busy = True
        assert await worker.looks_within(ROUNDS) > 10
        worker.busy = False
        await worker.looks_within(ROUNDS)
        assert await worker.looks_within(ROUNDS) == 0
