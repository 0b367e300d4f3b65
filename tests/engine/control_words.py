"""What the model of control is made of: names, queries, and a worker that may hold a claim open."""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any
from uuid import UUID

from openqueue.worker.intake.lanes import Lanes
from tests.engine.calls import Engine
from tests.support.invariants import assert_sound

QUEUES, TASKS, GROUPS = ("q0", "q1"), ("t0", "t1"), ("g0", "g1", None)
KEYS = {"serial": (1, True), "aside": (1, False), "two": (2, False)}
"""Concurrency keys: how many at once, and whether a failed one keeps its slot until its retry."""
OUTCOMES = ("completed", "completed", "failed", "retry", "snoozed", "cancelled", "released")
CALLS = [
    "cancel_run($1)",
    "promote_run($1)",
    "retry_run($1)",
    "await_run($1)",
    "edit_run($1, queue_name => 'q1')",
    "edit_run($1, priority => 1)",
    "reschedule_jobs(ARRAY[$1::uuid], run_at => now() + interval '1 hour')",
    "reschedule_jobs(ARRAY[$1::uuid], run_at => now() - interval '1 hour')",
    "permanently_fail_jobs(ARRAY[$1::uuid])",
]
EMPTY = "TRUNCATE jobs, run_requests, attempts, run_log, claims, lanes, slots, openings, controls, turns, groups, cancels, workers"
SCOPES = """
    SELECT v.scope, v.key FROM jobs j CROSS JOIN LATERAL (VALUES
        ('queue ' || j.queue, false), ('task ' || j.task, false), ('key ' || j.concurrency_key, true)) v (scope, key)
    WHERE j.id = $1 AND v.scope IS NOT NULL"""
LINES = (
    "SELECT gate, array_agg(id ORDER BY priority, place) AS ids FROM jobs WHERE gate LIKE 'key %' GROUP BY 1"
)
MAKE_DUE = """
    WITH a AS (UPDATE openings SET at = clock_timestamp() WHERE at > clock_timestamp()),
        b AS (UPDATE slots SET next_at = '-infinity')
    UPDATE jobs SET run_at = clock_timestamp() WHERE seq IS NULL AND gate IS NULL AND run_at > clock_timestamp()"""


class Claimer(Engine):
    """A worker on its own connection, with what it learned of lanes, and a claim that it may hold open."""

    def __init__(self, db: Any) -> None:
        super().__init__(db)
        self.lanes = Lanes()
        self.open: Any = None
        self.fresh: list[UUID] = []
        self.held: dict[UUID, int] = {}


class Drained:
    """The end of an example."""

    one: Engine
    workers: list[Claimer]
    runs: list[UUID]
    do: Any

    def teardown(self) -> None:
        """Everything ends, and everything comes out."""
        for worker in self.workers:
            if worker.open:
                self.do(worker.open.rollback())
            self.do(worker.sql("SELECT release_jobs($1)", worker.worker))
            worker.held.clear()
        for call in ("set_control(kind, name, '{\"paused_until\": null}', queue)",
                     "set_control(kind, name, '{\"concurrency\": 1}', queue)"):  # fmt: skip
            wanted = "paused_until IS NOT NULL" if "paused" in call else "concurrency = 0"
            self.do(self.one.sql(f"SELECT {call} FROM controls WHERE {wanted}"))
        left = len(self.runs)
        for turn in range(6 * len(self.runs) + 20):
            self.do(self.one.sql(MAKE_DUE))
            worker = self.workers[turn % len(self.workers)]
            plan = worker.lanes.sweep() if turn % 6 < 3 else worker.lanes.forward()
            rows = self.do(worker.claim_by(worker.lanes, plan, 100))
            if rows:
                self.do(worker.finish([row["id"] for row in rows]))
            left = self.do(self.one.db.fetchval("SELECT count(*) FROM openqueue.jobs"))
            if not left:
                break
        stuck = self.do(self.one.sql("SELECT to_jsonb(j)::text FROM jobs j")) if left else []
        assert not stuck, [
            *stuck,
            self.do(self.one.sql("SELECT * FROM openings")),
            self.do(self.one.sql("SELECT * FROM slots")),
        ]
        ends = self.do(
            self.one.sql(
                "SELECT r.id FROM run_requests r LEFT JOIN attempts a ON a.run_id = r.id AND a.final GROUP BY 1 HAVING count(a.*) <> 1"
            )
        )
        assert ends == []
        assert self.do(self.one.db.fetchval("SELECT count(*) FROM openqueue.run_requests")) == len(
            {*self.runs}
        )
        self.do(assert_sound(self.one.db))
