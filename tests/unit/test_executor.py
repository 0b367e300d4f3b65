"""An attempt whose deadline is near begins only if the database says so; what is kept of its error."""

from __future__ import annotations

import gc
import json
import time
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from openqueue import Context, task
from openqueue.clock import DatabaseTime
from openqueue.errors import ConnectionFailed
from openqueue.runs.outcomes import RELEASED
from openqueue.tasks.registry import Registry
from openqueue.worker.executor import Executor
from openqueue.worker.job import Job
from openqueue.worker.storing.journal import RunJournal

NOW = datetime.now(UTC)
NEAR, FAR = NOW + timedelta(seconds=5), NOW + timedelta(hours=1)


def job(deadline: datetime | None, *, started: bool = False) -> Job:
    row = {"id": uuid4(), "task": "t", "queue": "q", "attempt": 1, "max_attempts": 1, "input": "{}"}
    return Job({**row, "started": started, "suspect": False, "deadline": deadline, "run_at": NOW}, 1)


@pytest.mark.parametrize(
    ("deadline", "started", "asked"),
    [(None, False, 0), (FAR, False, 0), (NEAR, True, 0), (NEAR, False, 1), (NOW - timedelta(1), False, 1)],
)
@pytest.mark.parametrize("hours", [0, 1, -1], ids=lambda hours: f"the database's clock is {hours} h off ours")
@pytest.mark.parametrize("answer", [True, False, ConnectionFailed("gone")])
async def test_the_database_is_asked_where_the_deadline_may_pass(
    deadline: datetime | None, started: bool, asked: int, hours: int, answer: Any
) -> None:
    ran: list[int] = []
    questions: list[Job] = []

    @task(name="t")
    async def run() -> None:
        ran.append(1)

    async def before(one: Job) -> bool:
        questions.append(one)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    ours = timedelta(hours=hours)
    one = job(deadline and deadline + ours, started=started)
    clock = DatabaseTime()
    clock.measured(NOW + ours, time.monotonic())
    executor = Executor(Registry([run]), journal=RunJournal(), before=before, clock=clock)
    outcome = await executor.execute(one)
    assert questions == [one] * asked
    begins = answer is True or not asked
    assert len(ran) == begins
    assert (outcome.kind == "completed") if begins else (outcome is RELEASED)


async def test_a_stored_traceback_begins_in_the_task() -> None:
    @task(name="t", max_attempts=1)
    async def fails() -> None:
        raise ValueError("bad luck")

    outcome = await Executor(Registry([fails]), journal=RunJournal()).execute(job(None))
    lines = json.loads(outcome.error or "")["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert __file__ in lines[1]
    assert lines[-1] == "ValueError: bad luck"


class Row(dict[str, Any]):
    """A row that can be waited for to go."""


@pytest.mark.parametrize("fails", [False, True], ids=["completed", "failed"])
async def test_a_run_that_has_logged_is_gone_once_its_lines_are_taken(*, fails: bool) -> None:
    """It is in no cycle: a worker looks for those seldom, and would keep tens of thousands of runs."""

    @task(name="t")
    async def talks(*, ctx: Context = Context.injected) -> None:
        ctx.log.bind(a=1).info("said")
        if fails:
            raise ValueError("bad luck")

    journal = RunJournal()
    executor = Executor(Registry([talks]), journal=journal)
    gc.collect()
    gc.disable()
    try:
        one = job(None)
        one.row = Row(one.row, meta=None, tags=None)
        row = weakref.ref(one.row)
        outcome = await executor.execute(one)
        del one
        assert outcome.kind == ("failed" if fails else "completed")
        assert len(journal.take()) == 1
        assert row() is None
    finally:
        gc.enable()
