"""The checker finds each kind of fault in a made-up history, and none in a good one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.checker import check
from tests.chaos.history import Attempt, Effect, History, Run, Tick
from tests.chaos.journal import Asked, Journal

START = datetime(2026, 1, 1, tzinfo=UTC)
A, B = UUID(int=0xA), UUID(int=0xB)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def run_id(number: int) -> UUID:
    return UUID(int=1000 + number)


def execution(number: int, attempt: int) -> UUID:
    return UUID(int=number * 100 + attempt)


class Story:
    """A history that can be spoilt: one run tried twice, two of a serial key, one rolled back, two ticks."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.history = History()
        self.ran(1, "lost", attempt=1, begun=0, ended=4, worker=A)
        self.ran(1, "completed", attempt=2, begun=5, ended=6, worker=B)
        self.ran(2, "completed", begun=1, ended=2)
        self.ran(3, "completed", begun=2.5, ended=3)
        self.ask(Asked("1", "quick", run=run_id(1), answer="accepted"))
        self.ask(Asked("2", "serial", run=run_id(2), answer="accepted", ordered=("key", 0)))
        self.ask(Asked("3", "serial", run=run_id(3), answer="accepted", ordered=("key", 1)))
        self.ask(Asked("9", "quick", answer="rolled back"))
        self.ask(Asked("8", "quick", answer="unknown"))
        for second in (1, 2):
            self.ran(10 + second, "completed", begun=10 + second, ended=10.5 + second)
            self.history.runs.append(Run(run_id(10 + second), "tick", None, ("s", at(second))))
            self.history.ticks.append(Tick("s", at(second), run_id(10 + second)))
        self.history.runs.extend(Run(run_id(number), "quick", str(number)) for number in (1, 2, 3))
        self.history.logged.append((run_id(1), 2))

    def ask(self, one: Asked) -> None:
        self.journal.note(one)

    def ran(
        self, number: int, outcome: str, *, begun: float, ended: float, attempt: int = 1, worker: UUID = A
    ) -> None:
        run, claim, done = run_id(number), number * 10 + attempt, execution(number, attempt)
        pid = 1 if worker == A else 2
        self.history.effects.append(Effect(run, done, "begin", at(begun), pid, worker, claim, attempt))
        self.history.attempts.append(
            Attempt(
                run,
                attempt,
                outcome,
                final=outcome in ("completed", "failed"),
                worker=worker,
                claim=claim,
                started_at=at(begun),
                finished_at=at(ended),
                execution=done if outcome == "completed" else None,
            )
        )

    def change(self, what: str, where: Callable[[Any], bool], **changes: Any) -> None:
        rows = getattr(self.history, what)
        (place,) = [place for place, row in enumerate(rows) if where(row)]
        rows[place] = replace(rows[place], **changes)

    def attempt(self, number: int, attempt: int = 1, **changes: Any) -> None:
        self.change("attempts", lambda one: (one.run, one.attempt) == (run_id(number), attempt), **changes)

    def effect(self, number: int, attempt: int = 1, **changes: Any) -> None:
        self.change("effects", lambda one: one.execution == execution(number, attempt), **changes)

    def run(self, number: int, **changes: Any) -> None:
        self.change("runs", lambda one: one.id == run_id(number), **changes)


def test_a_history_in_which_all_is_well_breaks_no_rule() -> None:
    story = Story()
    assert check(story.journal, story.history) == []


def test_an_enqueue_whose_answer_was_lost_may_be_there() -> None:
    story = Story()
    story.ran(8, "completed", begun=7, ended=8)
    story.history.runs.append(Run(run_id(8), "quick", "8"))
    assert check(story.journal, story.history) == []


def test_what_has_to_fail_fails_and_the_third_lost_worker_is_an_end_that_history_shows() -> None:
    story = Story()
    story.journal.asked["2"].ends = "failed"
    story.attempt(2, outcome="failed", error="Hopeless", execution=None)
    story.attempt(1, 2, outcome="lost", final=False, execution=None)
    story.ran(1, "failed", attempt=3, begun=7, ended=8)
    story.attempt(1, 3, error="WorkerLost")
    assert check(story.journal, story.history) == []


def test_who_was_killed_before_its_job_showed_as_running_leaves_the_number_of_the_attempt_to_the_next() -> (
    None
):
    story = Story()
    story.history.effects.insert(0, Effect(run_id(2), execution(2, 0), "begin", at(0), 2, B, 5, 1, state="c"))
    assert check(story.journal, story.history) == []


def test_what_was_pruned_had_ended() -> None:
    story = Story()
    story.journal.pruned = True
    (gone,) = [run for run in story.history.runs if run.id == run_id(2)]
    story.history.runs.remove(gone)
    del story.history.attempts[2]
    assert [one.rule for one in check(story.journal, story.history)] == ["terminal"], "it did not say so"
    story.history.effects.append(Effect(run_id(2), execution(2, 1), "end", at(2), 1, A, 21, 1))
    story.history.effects.sort(key=lambda one: one.at)
    assert check(story.journal, story.history) == []


def test_what_somebody_cancelled_or_moved_may_end_so_and_begin_earlier() -> None:
    story = Story()
    story.attempt(2, outcome="cancelled")
    story.run(2, run_at=at(100))
    assert {one.rule for one in check(story.journal, story.history)} == {"terminal", "time"}
    story.journal.asked["2"].meddled = True
    assert check(story.journal, story.history) == []


def test_ticks_that_were_missed_are_counted_in_one_row() -> None:
    story = Story()
    story.history.ticks.append(Tick("s", at(7), None, missed=5))
    assert check(story.journal, story.history) == []


SPOILT: dict[str, tuple[str, str, Callable[[Story], object]]] = {
    "an accepted run that is gone": (
        "terminal",
        "was accepted and is not there",
        lambda s: (s.history.runs.pop(), s.history.attempts.pop(3)),
    ),
    "a run that never ended": ("terminal", "has not ended", lambda s: s.run(2, live="r")),
    "a run without an end": ("terminal", "0 last attempts", lambda s: s.attempt(2, final=False)),
    "a run with two ends": ("terminal", "2 last attempts", lambda s: s.attempt(1, 1, final=True)),
    "a run that goes on after its end": (
        "terminal",
        "attempts after its last one",
        lambda s: s.history.attempts.append(Attempt(run_id(2), 2, "completed")),
    ),
    "an end of another kind": ("terminal", "ended as failed", lambda s: s.attempt(2, outcome="failed")),
    "an end for a lost worker that was not lost": (
        "terminal",
        "ended as failed (WorkerLost)",
        lambda s: s.attempt(2, outcome="failed", error="WorkerLost"),
    ),
    "more attempts than allowed": ("terminal", "more than 25", lambda s: s.attempt(2, counted=26)),
    "a run that nobody asked for": ("existence", "nobody asked", lambda s: s.run(2, token=None)),
    "a token that nobody gave": ("existence", "nobody gave", lambda s: s.run(2, token="other")),
    "a run that was rolled back": (
        "existence",
        "was rolled back and is there",
        lambda s: s.history.runs.append(Run(run_id(9), "quick", "9", live="q")),
    ),
    "a run that is there twice": (
        "existence",
        "is there 2 times",
        lambda s: s.history.runs.extend(Run(run_id(number), "quick", "8") for number in (7, 9)),
    ),
    "a run with another id": (
        "existence",
        "is there as",
        lambda s: setattr(s.journal.asked["2"], "run", run_id(77)),
    ),
    "a job without a request": ("existence", "no request", lambda s: s.history.unsound.append("no request")),
    "an attempt that is missing": ("fence", "the attempts [2]", lambda s: s.history.attempts.pop(0)),
    "two attempts under one claim": (
        "fence",
        "2 attempts under",
        lambda s: s.attempt(1, 2, worker=A, claim=11),
    ),
    "two holders of one attempt": (
        "fence",
        "two holders",
        lambda s: s.history.effects.append(Effect(run_id(2), execution(2, 1), "end", at(1.5), 2, B, 5, 1)),
    ),
    "a holder that has it again": (
        "fence",
        "held by attempt 1 after attempt 2",
        lambda s: s.history.effects.append(Effect(run_id(1), execution(1, 1), "end", at(5.5), 1, A, 11, 1)),
    ),
    "two attempts at once": ("fence", "before attempt 1 had ended", lambda s: s.effect(1, 2, at=at(3))),
    "a log of an attempt that never was": (
        "fence",
        "log of attempt 7",
        lambda s: s.history.logged.append((run_id(1), 7)),
    ),
    "a result of nobody": ("result", "no execution gave", lambda s: s.attempt(2, execution=None)),
    "a result of another run": ("result", "a result of run", lambda s: s.effect(2, run=run_id(3))),
    "a result of an attempt that was lost": (
        "result",
        "a result of attempt 1 is stored as 2",
        lambda s: s.attempt(1, 2, execution=execution(1, 1)),
    ),
    "a result under another claim": ("result", "a result of attempt", lambda s: s.attempt(2, claim=5)),
    "a worker that is two processes": ("result", "the processes [1, 9]", lambda s: s.effect(3, pid=9)),
    "a beginning before its time": ("time", "and was due", lambda s: s.run(2, run_at=at(1.1))),
    "an early end of its time": (
        "time",
        "before its deadline",
        lambda s: [s.run(2, deadline=at(3)), s.attempt(2, outcome="expired")],  # type: ignore[func-returns-value]
    ),
    "a beginning after its deadline": ("time", "after its deadline", lambda s: s.run(2, deadline=at(-60))),
    "a key out of order": ("order", "began before", lambda s: s.effect(3, at=at(1.5))),
    "a tick with two decisions": (
        "tick",
        "2 decisions",
        lambda s: s.history.ticks.append(s.history.ticks[-1]),
    ),
    "a tick with two runs": (
        "tick",
        "2 runs",
        lambda s: s.history.runs.append(Run(run_id(40), "tick", None, ("s", at(1)))),
    ),
    "a tick whose run is gone": ("tick", "not its own", lambda s: s.run(11, tick=None)),
    "a tick that nobody decided": (
        "tick",
        "never decided",
        lambda s: s.history.runs.append(Run(run_id(40), "tick", None, ("s", at(9)))),
    ),
    "a tick that was left out": (
        "tick",
        "are 1 ticks",
        lambda s: s.change("ticks", lambda one: one.at == at(2), at=at(3)),
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_each_fault_is_found_under_its_rule(name: str) -> None:
    rule, words, spoil = SPOILT[name]
    story = Story()
    spoil(story)
    story.history.effects.sort(key=lambda one: one.at)
    found = check(story.journal, story.history)
    assert any(one.rule == rule and words in one.what for one in found), [str(one) for one in found]
