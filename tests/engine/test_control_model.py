"""Control, driven at random on several connections against a model: limits, rates, turns, pauses, keys, what becomes of jobs.

After every step no limit is passed, what slots say is what jobs say, and a serial key has kept its order; and
at the end everything comes out: no job stands at a gate for ever, no slot is lost. A longer run:
OPENQUEUE_MODEL_EXAMPLES=1000.
"""

# ruff: noqa: E501
from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.engine.calls import Engine
from tests.engine.control_words import (
    CALLS,
    EMPTY,
    GROUPS,
    KEYS,
    LINES,
    MAKE_DUE,
    OUTCOMES,
    QUEUES,
    SCOPES,
    TASKS,
    Claimer,
    Drained,
)
from tests.support.invariants import assert_sound

EXAMPLES = int(os.environ.get("OPENQUEUE_MODEL_EXAMPLES", "25"))
few = st.integers(1, 3)
queues, tasks, groups = st.sampled_from(QUEUES), st.sampled_from(TASKS), st.sampled_from(GROUPS)
keys = st.sampled_from([None, *KEYS])


class Control(Drained, RuleBasedStateMachine):
    """Three workers and somebody who says what holds."""

    runner: asyncio.Runner
    connections: list[Any]

    def __init__(self) -> None:
        super().__init__()
        first, *others = self.connections
        self.one, self.workers = Engine(first), [Claimer(db) for db in others]
        self.other = Engine(first, namespace="elsewhere")
        self.limits: dict[str, int] = {}
        self.runs: list[UUID] = []
        self.do(self.one.sql(EMPTY))

    def do(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def attempt(self, text: str, *arguments: Any) -> list[Any] | None:
        """A statement that may meet a lock of a claim held open: then it did not happen."""
        try:
            return list(self.do(self.one.sql(text, *arguments)))
        except asyncpg.LockNotAvailableError:
            return None

    def choose(self, data: st.DataObject, runs: list[UUID]) -> UUID:
        return data.draw(st.sampled_from(runs))

    # What is said.

    def control(self, kind: str, name: str, queue: str = "", **change: Any) -> bool:
        said = self.attempt(
            "SELECT set_control($1, $2, $3::text::jsonb, $4)", kind, name, json.dumps(change), queue
        )
        return said is not None

    @rule(
        kind=st.sampled_from(["queue", "task"]),
        place=st.integers(0, 1),
        limit=st.sampled_from([None, 0, 1, 2, 3]),
    )
    def limit(self, kind: str, place: int, limit: int | None) -> None:
        name = (QUEUES if kind == "queue" else TASKS)[place]
        if self.control(kind, name, concurrency=limit):
            self.limited(f"{kind} {name}", limit)

    @rule(key=st.sampled_from([*KEYS]), limit=st.sampled_from([None, 1, 2, 3]))
    def limit_key(self, key: str, limit: int | None) -> None:
        if self.control("key", key, concurrency=limit):
            self.limited(f"key {key}", limit)

    def limited(self, scope: str, limit: int | None) -> None:
        if limit is None:
            self.limits.pop(scope, None)
        else:
            self.limits[scope] = limit

    @rule(
        kind=st.sampled_from(["queue", "task", "key"]),
        place=st.integers(0, 1),
        rate=st.sampled_from([None, 1, 3]),
    )
    def rate(self, kind: str, place: int, rate: int | None) -> None:
        name = {"queue": QUEUES, "task": TASKS, "key": tuple(KEYS)}[kind][place]
        self.control(kind, name, rate=rate, period=rate and "1 hour", burst=rate)

    @rule(queue=queues, policy=st.sampled_from([None, "strict", "round_robin", "weighted"]))
    def fairness(self, queue: str, policy: str | None) -> None:
        self.control("queue", queue, fairness=policy)

    @rule(queue=queues, group=st.sampled_from(["g0", "g1"]), weight=st.sampled_from([None, 0.5, 4]))
    def weight(self, queue: str, group: str, weight: float | None) -> None:
        self.control("group", group, queue, weight=weight)

    @rule(queue=queues, ageing=st.sampled_from([None, "1 minute"]))
    def ageing(self, queue: str, ageing: str | None) -> None:
        self.control("queue", queue, ageing=ageing)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), minutes=st.sampled_from([1, 2, 60]))
    def waits_long(self, data: st.DataObject, minutes: int) -> None:
        """It gains as many levels where ageing is said."""
        waited = (
            "UPDATE jobs SET run_at = run_at - $2 * interval '1 minute' WHERE id = $1 AND state IN ('q', 'b')"
        )
        self.attempt(waited, self.choose(data, self.runs), float(minutes))

    @rule(
        what=st.sampled_from(
            [
                ("all", "", ""),
                ("queue", "q0", ""),
                ("task", "t0", ""),
                ("group", "g0", "q0"),
                ("group", "g1", "q1"),
            ]
        ),
        until=st.sampled_from([None, "infinity"]),
    )
    def pause(self, what: tuple[str, str, str], until: str | None) -> None:
        self.control(*what, paused_until=until)

    @rule()
    def time_passes(self) -> None:
        self.attempt(MAKE_DUE)

    # What comes.

    @rule(
        count=few, task=tasks, queue=queues, group=groups, key=keys, later=st.sampled_from([False, False, True]),
        job_key=st.sampled_from([None, None, None, "a", "b"]), mode=st.sampled_from(["replace", "keep_time", "skip"]),
        priority=st.sampled_from([0, 0, 1]),
    )  # fmt: skip
    def add(
        self, count: int, task: str, queue: str, group: str | None, key: str | None, later: bool,
        job_key: str | None, mode: str, priority: int,
    ) -> None:  # fmt: skip
        n = 1 if job_key else count
        limit, keeps = KEYS[key] if key else (None, None)
        rows = self.attempt(
            "SELECT b.id, b.outcome FROM add_batch($1, array_fill('{}'::jsonb, ARRAY[$2::integer]), 'default', $3, ARRAY[$4::integer],"
            " delays => array_fill($5::float8, ARRAY[$2]), keys => $6, key_modes => $7, group_keys => $8,"
            " concurrency_keys => $9, key_limits => $10::integer[], keeps_slots => $11::boolean[]) b",
            [task], n, [queue], priority, 3600.0 if later else 0.0, job_key and [job_key], job_key and [mode],
            [group] * n, [key or ""], [limit], [keeps],
        )  # fmt: skip
        self.runs += [row["id"] for row in rows or () if row["outcome"] == "added"]

    @rule(queue=queues, mode=st.sampled_from(["replace", "keep_time", "skip"]), key=keys)
    def add_batch_with_keys(self, queue: str, mode: str, key: str | None) -> None:
        limit, keeps = KEYS[key] if key else (None, None)
        rows = self.attempt(
            "SELECT b.id, b.outcome FROM add_batch('{t0}', '{\"{}\",\"{}\",\"{}\"}'::jsonb[], 'default', ARRAY[$1], keys => '{b,c,a}',"
            " key_modes => array_fill($2::text, ARRAY[3]), concurrency_keys => ARRAY[$3], key_limits => ARRAY[$4::integer],"
            " keeps_slots => ARRAY[$5::boolean]) b",
            *(queue, mode, key or "", limit, keeps),
        )
        self.runs += [row["id"] for row in rows or () if row["outcome"] == "added"]

    # What workers do.

    def idle(self) -> list[Claimer]:
        return [worker for worker in self.workers if worker.open is None]

    @precondition(lambda self: self.idle())
    @rule(
        data=st.data(), n=st.sampled_from([1, 2, 5, 100]), tasks=st.sampled_from([None, None, ["t0"], ["t1"]]),
        queues=st.sampled_from([None, None, {"q0": None}, {"q1": 2, "q0": 1}]), promote=st.booleans(),
        sweep=st.booleans(), held=st.sampled_from([False, False, False, True]),
    )  # fmt: skip
    def claim(
        self, data: st.DataObject, n: int, tasks: Any, queues: Any, promote: bool, sweep: bool, held: bool
    ) -> None:
        worker = data.draw(st.sampled_from(self.idle()))
        lines = {row["gate"]: row["ids"] for row in self.do(self.one.sql(LINES))}
        if held:
            worker.open = worker.db.transaction()
            self.do(worker.open.start())
        plan = worker.lanes.sweep() if sweep else worker.lanes.forward()
        rows = self.do(worker.claim_by(worker.lanes, plan, n, tasks=tasks, queues=queues, promote=promote))
        worker.fresh = [row["id"] for row in rows]
        worker.held.update(dict.fromkeys(worker.fresh, worker.claim_number))
        assert len(worker.fresh) <= n
        self.check_limits(worker, lines)
        if not held:
            worker.fresh = []

    def check_limits(self, worker: Claimer, lines: dict[str, list[UUID]]) -> None:
        """Of what has just been claimed: it is not too much, and came in its order."""
        running: Counter[str] = Counter()
        for one in self.workers:
            for run in one.held:
                running.update(row["scope"] for row in self.do(one.sql(SCOPES, run)))
        for run in worker.fresh:
            for scope, is_key in self.do(worker.sql(SCOPES, run)):
                limit = self.limits.get(scope, KEYS[scope[4:]][0] if is_key else 1000)
                assert running[scope] <= limit, (scope, running[scope], limit)
                line = lines.get(scope, [])
                if limit == 1 and run in line:
                    assert line[0] == run, f"{scope}: {run} went before {line}"

    @precondition(lambda self: any(worker.open for worker in self.workers))
    @rule(data=st.data(), commit=st.booleans())
    def end_open_claim(self, data: st.DataObject, commit: bool) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.open]))
        self.do(worker.open.commit() if commit else worker.open.rollback())
        if not commit:
            for run in worker.fresh:
                del worker.held[run]
            worker.lanes.doubt()
        worker.open, worker.fresh = None, []

    @precondition(lambda self: any(worker.held for worker in self.idle()))
    @rule(
        data=st.data(),
        outcome=st.sampled_from(OUTCOMES),
        delay=st.sampled_from([0.0, 3600.0]),
        all_=st.booleans(),
    )
    def finish(self, data: st.DataObject, outcome: str, delay: float, all_: bool) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.idle() if worker.held]))
        runs = [*worker.held] if all_ else [self.choose(data, [*worker.held])]
        verdicts = self.do(
            worker.finish(
                runs, outcome, claims=[worker.held[run] for run in runs], delays=[delay] * len(runs)
            )
        )
        assert set(verdicts) == {"applied"}
        for run in runs:
            del worker.held[run]

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), way=st.sampled_from(["release", "rescue", "start"]))
    def give_back(self, data: st.DataObject, way: str) -> None:
        worker = data.draw(st.sampled_from(self.idle()))
        if way == "start":
            runs = [*worker.held]
            assert not self.do(
                worker.value("start_jobs", worker.worker, runs, [worker.held[run] for run in runs], False)
            )
            return
        call = {"release": "release_jobs($1)", "rescue": "put_back($1, held_jobs($1), true)"}
        self.do(worker.sql(f"SELECT {call[way]}", worker.worker))
        worker.held.clear()

    # What people do.

    @precondition(lambda self: self.runs)
    @rule(
        data=st.data(),
        call=st.sampled_from(CALLS),
    )
    def change(self, data: st.DataObject, call: str) -> None:
        self.attempt(f"SELECT {call}", self.choose(data, self.runs))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def rerun(self, data: st.DataObject) -> None:
        rows = self.attempt(
            "SELECT made FROM act_on_runs('rerun', ARRAY[$1::uuid], options => '{\"input\": {}}')",
            self.choose(data, self.runs),
        )
        self.runs += [row["made"] for row in rows or () if row["made"]]

    @rule(most=st.sampled_from([1, 1000]))
    def prune(self, most: int) -> None:
        if self.attempt("SELECT FROM prune('1 microsecond', most => $1)", most) is not None:
            self.runs = [row["id"] for row in self.do(self.one.sql("SELECT id FROM run_requests"))]

    @rule(queue=queues, group=groups, key=keys)
    def elsewhere(self, queue: str, group: str | None, key: str | None) -> None:
        """What holds in a namespace holds nobody up in another one."""
        other = self.other
        job = self.do(
            other.add_one(task="t0", queue_name=queue, group_key=group, concurrency_key=key, job_key="a")
        )
        assert [row["id"] for row in self.do(other.claim())] == [job]
        assert self.do(other.finish([job])) == ["applied"]
        self.do(other.sql("DELETE FROM runs WHERE id = $1", job))

    # What holds.

    @invariant()
    def sound(self) -> None:
        self.do(assert_sound(self.one.db))


@pytest.mark.timeout(3600)
def test_nothing_passes_a_limit_and_nothing_is_left_at_a_gate(dsn: str) -> None:
    with asyncio.Runner() as runner:

        async def connect() -> Any:
            return await asyncpg.connect(
                dsn, server_settings={"lock_timeout": "100ms", "search_path": "openqueue"}
            )

        Control.runner, Control.connections = runner, [runner.run(connect()) for _ in range(4)]
        try:
            run_state_machine_as_test(
                Control,
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=40,
                    deadline=None,
                    derandomize="OPENQUEUE_MODEL_EXAMPLES" not in os.environ,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            for connection in Control.connections:
                connection.terminate()
