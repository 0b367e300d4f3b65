"""A tracer around attempts: whatever becomes of it, the attempts go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

import pytest

from openqueue.runs.outcomes import Outcome
from openqueue.tasks.context import Context
from openqueue.worker.job import Job
from openqueue.worker.traced import End, Traced

DONE = Outcome("completed", output="null")


class Broken:
    """Fails where it is told to; what it is told otherwise is `told`."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.told: list[End] = []

    @contextmanager
    def attempting(self, ctx: Context, /, *, rescued: bool) -> Iterator[Broken]:
        self._may_fail("begin")
        yield self
        self._may_fail("close")

    def ended(self, ends: Sequence[End], /) -> None:
        self._may_fail("end")
        self.told.extend(ends)

    def _may_fail(self, where: str) -> None:
        if where == self.where:
            raise RuntimeError("the collector is gone")


def job() -> Job:
    return Job({"id": uuid4(), "task": "mail.send", "started": True, "suspect": False}, 1)


async def completes(_: Job) -> Outcome:
    return DONE


def told_of(one: Job, _: Sequence[Job]) -> Context:
    return Context(run_id=one.id, task=one.task)


@pytest.mark.parametrize("where", ["begin", "end", "close", "nowhere"])
async def test_a_tracer_that_fails_fails_no_attempt_and_is_told_once(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracer = Broken(where)
    traced = Traced(tracer, completes, told_of)
    with caplog.at_level(logging.ERROR):
        assert [await traced.execute(job()) for _ in range(2)] == [DONE, DONE]
    assert len(caplog.records) == (where != "nowhere")
    assert tracer.told == ([("completed", None)] * 2 if where in ("close", "nowhere") else [])


async def test_of_an_attempt_whose_lease_is_lost_its_own_outcome_means_nothing() -> None:
    tracer, one = Broken("nowhere"), job()
    one.lost = True
    await Traced(tracer, completes, told_of).execute(one)
    assert tracer.told == [("lost", None)]
