"""What a worker counts of what ends in it, and tells once."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from openqueue.clock import DatabaseTime
from openqueue.runs.outcomes import RELEASED, RETURNED_NOTHING, Outcome
from openqueue.runs.statistics import quantile
from openqueue.worker.job import Job
from openqueue.worker.storing.tally import BUCKETS, Tally, bucket
from openqueue.worker.usage import Usage, memory


def ended(
    *outcomes: Outcome, queue: str = "q", task: str = "t", waited: float = 1.0
) -> list[tuple[Job, Outcome]]:
    found = []
    for outcome in outcomes:
        due = datetime.now(UTC) - timedelta(seconds=waited)
        row = {"id": uuid4(), "task": task, "queue": queue, "started": True, "suspect": False, "run_at": due}
        job = Job(row, 1)
        job.started_at = job.claimed_at
        job.finished_at = job.started_at + 0.25
        found.append((job, outcome))
    return found


def told(tally: Tally) -> list[dict[str, Any]]:
    found = tally.tell(now=True)
    assert found is not None
    cells: list[dict[str, Any]] = json.loads(found[1])
    return cells


def test_what_ends_is_counted_by_queue_task_and_outcome() -> None:
    tally = Tally()
    failed, again = Outcome("failed", error="{}"), Outcome("retry", error="{}", delay=1.0)
    tally.count(ended(RETURNED_NOTHING, failed, again, RETURNED_NOTHING, RELEASED))
    tally.count(ended(RETURNED_NOTHING, queue="r"))
    one, other = told(tally)
    assert (one["completed"], one["failed"], one["retried"], one["released"]) == (2, 1, 1, 1)
    assert (other["queue"], other["completed"], "failed" in other) == ("r", 1, False)
    assert sum(one["ran"]) == sum(one["waited"]) == 5
    assert one["ran"] == [0] * bucket(0.25) + [5]


def test_how_long_it_waited_is_by_the_clock_of_the_database() -> None:
    clock = DatabaseTime()
    clock.measured(datetime.now(UTC) - timedelta(hours=1), time.monotonic())
    tally = Tally(clock)
    tally.count(ended(RETURNED_NOTHING, waited=3700.0))
    (cell,) = told(tally)
    assert quantile(cell["waited"], 1.0) == pytest.approx(100.0, rel=0.2)


def test_it_is_told_again_under_the_same_number_until_it_has_arrived() -> None:
    tally = Tally()
    assert tally.tell() is None
    tally.count(ended(RETURNED_NOTHING))
    first = tally.tell()
    tally.count(ended(RETURNED_NOTHING))
    assert tally.tell() is first
    tally.arrived(first)
    assert tally.tell() is None  # not so soon
    second = tally.tell(now=True)
    assert first is not None
    assert second is not None
    assert second[0] == first[0] + 1
    assert json.loads(second[1])[0]["completed"] == 1


def test_every_time_has_its_bucket() -> None:
    places = [bucket(1e-6 * 1.07**n) for n in range(500)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, BUCKETS - 1)
    assert bucket(-5.0) == 0


def test_what_the_process_takes() -> None:
    usage = Usage()
    rss, cpu = usage.read()
    assert rss is not None
    assert rss == pytest.approx(memory() or 0, rel=0.5)
    assert rss > 2**20
    assert cpu >= 0
