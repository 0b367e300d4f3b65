"""Compares what was asked with what has happened, as Jepsen would. Pure: values in, violations out.

What holds whatever is killed (the promises of the README), each a rule with a name of its own here:

terminal    every accepted run has ended, once, and in the way in which its task ends
existence   what was rolled back is not there, what was asked once is there once, and there is nothing else
fence       at any time one attempt holds a run; who lost it never has it again, and one that has begun began
            after all before it had ended; no attempt is missing in the history
result      a result is that of the attempt under which it is stored: its worker, its claim
time        nothing begins before it is due, expires before its deadline, or begins long after that
order       runs of one serial key ran one after the other, in the order in which they were accepted
tick        a time of a schedule has one decision and at most one run, and no time is left out

The times compared are all of the database's clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.chaos.history import Attempt, Effect, History, Run
from tests.chaos.journal import Asked, Journal

__all__ = ["Violation", "check", "gone"]

LATE = timedelta(seconds=30)
"""By which an attempt may be seen to begin after its deadline: its beginning is known from its end, which was
on its way to the database meanwhile."""

MOST_LOSSES = 3
"""The lost worker with which a run fails (`rescue`)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken, and what shows it."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def check(journal: Journal, history: History, *, every: timedelta = timedelta(seconds=1)) -> list[Violation]:
    """Everything that is wrong with this history; `every` is how far apart the ticks of its schedules are."""
    seen = _Seen(history)
    found = [
        *(("terminal", what) for what in _terminal(journal, seen)),
        *(("existence", what) for what in _existence(journal, history)),
        *(("fence", what) for what in _fence(seen)),
        *(("result", what) for what in _result(seen)),
        *(("time", what) for what in _time(journal, seen)),
        *(("order", what) for what in _order(journal, seen)),
        *(("tick", what) for what in _ticks(history, every, pruned=journal.pruned)),
    ]
    return [Violation(rule, what) for rule, what in found]


class _Seen:
    """The history, by run."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.runs: dict[UUID, Run] = {run.id: run for run in history.runs}
        self.attempts: dict[UUID, list[Attempt]] = defaultdict(list)
        self.effects: dict[UUID, list[Effect]] = defaultdict(list)
        for attempt in history.attempts:
            self.attempts[attempt.run].append(attempt)
        for effect in history.effects:
            self.effects[effect.run].append(effect)


def gone(journal: Journal, history: History) -> list[Asked]:
    """What was accepted and is not there; if it may have been pruned, and never said that it ended."""
    there = {run.id for run in history.runs}
    missing = [one for one in journal.accepted() if one.run not in there]
    if not journal.pruned:
        return missing
    said = {effect.run for effect in history.effects if effect.what == "end"}
    return [one for one in missing if one.run not in said and one.ends != "failed"]


def _terminal(journal: Journal, seen: _Seen) -> Iterator[str]:
    ends = {one.token: one for one in journal.asked.values()}
    for one in gone(journal, seen.history):
        yield f"{_named(one)} was accepted and is not there"
    for run in seen.runs.values():
        attempts = seen.attempts[run.id]
        finals = [attempt for attempt in attempts if attempt.final]
        if run.live is not None:
            yield f"run {run.id} ({run.task}) has not ended: it is {run.live!r}"
        if len(finals) != (run.live is None):
            yield f"run {run.id} has {len(finals)} last attempts, and is {'live' if run.live else 'not live'}"
        if finals and finals[-1] is not attempts[-1]:
            yield f"run {run.id} has attempts after its last one"
        if finals and not _as_it_has_to_end(ends.get(run.token or ""), attempts):
            yield f"run {run.id} ({run.task}) ended as {_ended(finals[-1])}"
        if any(attempt.counted > run.max_attempts for attempt in attempts):
            yield f"run {run.id} was tried more than {run.max_attempts} times"


def _as_it_has_to_end(asked: Asked | None, attempts: list[Attempt]) -> bool:
    """Also if it killed its workers, or happened to run on as many that were: then the history shows them."""
    last = attempts[-1]
    if asked is not None and asked.meddled:
        return last.outcome in ("completed", "failed", "cancelled")
    if last.error == "WorkerLost":
        return last.outcome == "failed" and sum(one.outcome == "lost" for one in attempts) == MOST_LOSSES - 1
    return last.outcome == (asked.ends if asked else "completed")


def _ended(last: Attempt) -> str:
    return f"{last.outcome} ({last.error})" if last.error else last.outcome


def _existence(journal: Journal, history: History) -> Iterator[str]:
    yield from history.unsound
    of_token = Counter(run.token for run in history.runs if run.token is not None)
    ticks = {tick.run for tick in history.ticks}
    for run in history.runs:
        if run.token is None and run.id not in ticks:
            yield f"run {run.id} ({run.task}) is there and nobody asked for it"
        if run.token is not None and run.token not in journal.asked:
            yield f"run {run.id} has the token {run.token!r}, which nobody gave"
    for token, count in of_token.items():
        one = journal.asked.get(token)
        if one is not None and one.answer == "rolled back":
            yield f"{_named(one)} was rolled back and is there"
        elif count > 1:
            yield f"{token!r} was asked for once and is there {count} times"
    for run in history.runs:
        one = journal.asked.get(run.token or "")
        if one is not None and one.run is not None and one.run != run.id:
            yield f"{_named(one)} was accepted as run {one.run} and is there as {run.id}"


def _fence(seen: _Seen) -> Iterator[str]:
    for run, attempts in seen.attempts.items():
        numbers = [attempt.attempt for attempt in attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"run {run} has the attempts {numbers}"
        holds = Counter((one.worker, one.claim) for one in attempts if one.worker and one.started_at)
        for (worker, claim), count in holds.items():
            if count > 1:
                yield f"run {run} has {count} attempts under claim {claim} of worker {worker}"
        yield from _held_in_turn(run, attempts, seen.effects[run])
    for run, number in seen.history.logged:
        if run in seen.runs and number not in {attempt.attempt for attempt in seen.attempts[run]}:
            yield f"run {run} has a log of attempt {number}, which it never had"


def _held_in_turn(run: UUID, attempts: list[Attempt], effects: list[Effect]) -> Iterator[str]:
    """Effects note who holds the run: a number that only grows, each with one holder."""
    held = [(one.attempt, one) for one in effects if one.worker is not None and one.attempt is not None]
    holders: dict[int, tuple[Any, Any]] = {}
    for number, effect in held:
        holder = (effect.worker, effect.claim)
        if effect.state == "r" and holders.setdefault(number, holder) != holder:
            yield f"run {run} had two holders in attempt {number}"
    for later, effect in held:
        for earlier, after in held:
            if earlier < later and effect.at < (after.since or after.at):
                yield f"run {run} was held by attempt {earlier} after attempt {later}"
    ends = {one.attempt: one.finished_at for one in attempts if one.finished_at is not None}
    for number, effect in held:
        for earlier, ended in ends.items():
            if earlier < number and ended > effect.at:
                yield f"run {run} was held by attempt {number} before attempt {earlier} had ended"


def _result(seen: _Seen) -> Iterator[str]:
    begun = {effect.execution: effect for effect in seen.history.effects if effect.what == "begin"}
    pids: dict[UUID, set[int]] = defaultdict(set)
    for attempt in seen.history.attempts:
        if attempt.outcome != "completed":
            continue
        effect = begun.get(attempt.execution) if attempt.execution else None
        if effect is None:
            yield f"run {attempt.run} has a result that no execution gave"
            continue
        if effect.run != attempt.run:
            yield f"run {attempt.run} has a result of run {effect.run}"
        if (effect.worker, effect.claim, effect.attempt) != (attempt.worker, attempt.claim, attempt.attempt):
            yield f"run {attempt.run}: a result of attempt {effect.attempt} is stored as {attempt.attempt}"
        if attempt.worker is not None:
            pids[attempt.worker].add(effect.pid)
    for worker, found in pids.items():
        if len(found) > 1:
            yield f"worker {worker} has results of the processes {sorted(found)}"


def _time(journal: Journal, seen: _Seen) -> Iterator[str]:
    for run in seen.runs.values():
        asked = journal.asked.get(run.token or "")
        if asked is not None and asked.meddled:
            continue
        for effect in seen.effects[run.id]:
            if run.run_at is not None and effect.at < run.run_at:
                yield f"run {run.id} began at {effect.at}, and was due at {run.run_at}"
        if run.deadline is None:
            continue
        for attempt in seen.attempts[run.id]:
            ended, began = attempt.finished_at, attempt.started_at
            if attempt.outcome == "expired" and ended is not None and ended < run.deadline:
                yield f"run {run.id} expired at {ended}, before its deadline ({run.deadline})"
            if attempt.attempt == 1 and began is not None and began > run.deadline + LATE:
                yield f"run {run.id} began at {began}, after its deadline ({run.deadline})"


def _order(journal: Journal, seen: _Seen) -> Iterator[str]:
    """Between two accepted runs of a key: the later one began after the last attempt of the earlier one."""
    keys: dict[str, list[tuple[int, Asked]]] = defaultdict(list)
    for one in journal.accepted():
        if one.ordered is not None:
            keys[one.ordered[0]].append((one.ordered[1], one))
    for key, placed in keys.items():
        ordered = [one for _, one in sorted(placed, key=lambda pair: pair[0])]
        for before, after in pairwise(ordered):
            if before.run is None or after.run is None:
                continue
            ended = [one.finished_at for one in seen.attempts[before.run] if one.finished_at is not None]
            began = [one.at for one in seen.effects[after.run] if one.what == "begin"]
            if ended and began and min(began) < max(ended):
                yield f"key {key!r}: {_named(after)} began before {_named(before)} had ended"


def _ticks(history: History, every: timedelta, *, pruned: bool) -> Iterator[str]:
    runs = {run.id: run for run in history.runs}
    times = Counter((tick.schedule, tick.at) for tick in history.ticks)
    made = Counter([run.tick for run in history.runs if run.tick])
    yield from (f"{schedule} at {at} has {n} decisions" for (schedule, at), n in times.items() if n > 1)
    yield from (f"{of[0]} at {of[1]} has {n} runs" for of, n in made.items() if n > 1)
    for tick in () if pruned else history.ticks:
        if tick.run is not None and (tick.run not in runs or runs[tick.run].tick != (tick.schedule, tick.at)):
            yield f"{tick.schedule} at {tick.at} names a run that is not its own: {tick.run}"
    for run in runs.values():
        if run.tick is not None and run.tick not in times:
            yield f"run {run.id} is for a tick that was never decided: {run.tick}"
    for before, after in pairwise(history.ticks):
        gap = after.at - before.at
        if before.schedule == after.schedule and not pruned and gap != every * (after.missed or 1):
            yield f"{after.schedule}: {gap} from {before.at} to {after.at} are {after.missed or 1} ticks"


def _named(one: Asked) -> str:
    return f"{one.kind} {one.token!r}"
