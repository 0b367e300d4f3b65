"""What the model of control is made of: names, queries, and a worker that may hold a claim open."""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any
from uuid import UUID

from openqueue.worker.lanes import Lanes
from tests.engine.calls import Engine

QUEUES, TASKS, GROUPS = ("q0", "q1"), ("t0", "t1"), ("g0", "g1", None)
KEYS = {"serial": (1, True), "aside": (1, False), "two": (2, False)}
"""Concurrency keys: how many at once, and whether a failed one keeps its slot until its retry."""
OUTCOMES = ("completed", "completed", "failed", "retry", "snoozed", "cancelled", "released")
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
