"""Whether a worker is there for a run, told from the lists of workers and of tasks."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from openqueue.runs.attendance import who_is_missing, why_not_ended
from openqueue.runs.model import RunInfo

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def worker(**more: Any) -> dict[str, Any]:
    return {"started_at": NOON, "beat_age": 1.0, "state": "running", "queues": None, **more}


def entry(task: str = "mail.send", seen_at: datetime = NOON + SECOND, options: str = "{}") -> dict[str, Any]:
    return {"task": task, "seen_at": seen_at, "options": options}


def missing(workers: list[dict[str, Any]], catalog: list[dict[str, Any]]) -> str | None:
    return who_is_missing("mail.send", "mail", workers, catalog, silence=15.0)


@pytest.mark.parametrize(
    "workers",
    [[], [worker(beat_age=15.0)], [worker(state="draining")]],
    ids=["none", "silent", "leaving"],
)
def test_without_a_worker_that_takes_work_that_is_said(workers: list[dict[str, Any]]) -> None:
    said = missing(workers, [entry()])
    assert said is not None
    assert said.startswith("No worker is alive: the run waits for one. Start it: openqueue worker")


@pytest.mark.parametrize(
    "catalog",
    [[], [entry("mail.other")], [entry(seen_at=NOON - SECOND)]],
    ids=["nothing", "another task", "published by one that has gone"],
)
def test_workers_that_do_not_know_the_task_are_not_enough(catalog: list[dict[str, Any]]) -> None:
    said = missing([worker(), worker()], catalog)
    assert said is not None
    assert said.startswith("None of the workers that are alive (2) has the task mail.send: the run waits")


def test_workers_of_other_queues_are_not_enough() -> None:
    said = missing([worker(queues=["slow"])], [entry()])
    assert said is not None
    assert said.startswith("No worker that is alive and has the task works on queue 'mail'")
    assert "openqueue worker --queue mail" in said


@pytest.mark.parametrize(
    ("one", "known"),
    [
        (worker(), entry()),
        (worker(queues=["slow", "mail"]), entry()),
        (worker(state="stuck"), entry()),
        (worker(), entry("post.send", options='{"aliases": ["mail.send"]}')),
    ],
    ids=["all queues", "this queue", "busy", "an alias"],
)
def test_where_one_can_run_it_nothing_is_said(one: dict[str, Any], known: dict[str, Any]) -> None:
    assert missing([worker(beat_age=99.0), one], [known]) is None


def run(status: str, **more: Any) -> RunInfo:
    known: dict[str, Any] = dict.fromkeys(one.name for one in fields(RunInfo))
    said = {"queue": "mail", "attempt": 1, "max_attempts": 3, "run_at": NOON, "status": status}
    return RunInfo(**{**known, **said, **more})


BLOCKED = (
    "It is blocked: its concurrency key, its task or its group is at a limit or paused. See"
    " which: openqueue tasks show mail.send, openqueue queues show mail."
)


@pytest.mark.parametrize(
    ("info", "missing", "said"),
    [
        (run("scheduled"), None, "It is scheduled for 2026-01-02 12:00:00+00:00."),
        (run("scheduled"), "No worker", "It is scheduled for 2026-01-02 12:00:00+00:00. No worker."),
        (run("queued"), "No worker", "It is queued in 'mail'. No worker."),
        (
            run("queued"),
            None,
            "It is queued in 'mail', behind others: a worker that is alive has its task, and works on it.",
        ),
        (
            run("retrying", error={"type": "ValueError", "message": "x"}),
            None,
            f"It is retrying: attempt 1 of 3 ended with ValueError: x; the next is due at {NOON}.",
        ),
        (run("blocked", task="mail.send"), None, BLOCKED),
        (run("running", attempt=2), None, "It is running: attempt 2 of 3."),
    ],
)
def test_what_an_unfinished_run_waits_for_is_said(info: RunInfo, missing: str | None, said: str) -> None:
    assert why_not_ended(info, missing) == said
