"""What holds of every row, whatever was done: asked of the test's database when a test has ended.

These were CHECK constraints once. PostgreSQL compiles those for each statement anew, which was a tenth of
what adding or claiming one job costs; and only the engine writes here.
"""

from __future__ import annotations

from typing import Any

from openqueue.runs.states import ENDED, LIVE

__all__ = ["assert_sound", "faults"]

STORED = sorted({letter for letters in LIVE.values() for letter in letters})
OUTCOMES = sorted({*ENDED, "snoozed", "released", "lost"})

_RULES = """
    SELECT 'a state is one of the table of states' AS rule, to_jsonb(j) AS row
    FROM openqueue.jobs j WHERE state::text <> ALL ($1)
    UNION ALL SELECT 'a job has a seq unless it is scheduled, retrying or blocked', to_jsonb(j)
    FROM openqueue.jobs j WHERE (seq IS NULL) <> (state IN ('s', 't', 'b'))
    UNION ALL SELECT 'a blocked job has a gate', to_jsonb(j)
    FROM openqueue.jobs j WHERE state = 'b' AND gate IS NULL
    UNION ALL SELECT 'a gate has a place', to_jsonb(j)
    FROM openqueue.jobs j WHERE (gate IS NULL) <> (place IS NULL)
    UNION ALL SELECT 'an outcome is one of those there are', to_jsonb(a)
    FROM openqueue.attempts a WHERE outcome <> ALL ($2)
    UNION ALL SELECT 'a run may be tried at least once', to_jsonb(r)
    FROM openqueue.run_requests r WHERE max_attempts < 1
    UNION ALL SELECT 'the slots taken of a scope are those that its jobs hold', to_jsonb(t) FROM (
        SELECT namespace, scope, sum(used) AS used, sum(held) AS held FROM (
            SELECT namespace, scope, used, 0 AS held FROM openqueue.slots
            UNION ALL SELECT namespace, scope, -freed, 0 FROM openqueue.openings
            UNION ALL SELECT j.namespace, v.scope, 0, 1 FROM openqueue.jobs j CROSS JOIN LATERAL (VALUES
                (1, 'queue ' || queue), (2, 'task ' || task), (4, 'key ' || concurrency_key)) v (flag, scope)
            WHERE j.slots & v.flag > 0) a GROUP BY 1, 2 HAVING sum(used) <> sum(held)) t"""


async def faults(db: Any) -> list[str]:
    """The rows that break a rule, with the rule."""
    if await db.fetchval("SELECT to_regclass('openqueue.jobs')") is None:
        return []
    found = await db.fetch(_RULES, STORED, OUTCOMES)
    return [f"{row['rule']}: {row['row']}" for row in found]


async def assert_sound(db: Any) -> None:
    """Every row is as it has to be."""
    assert await faults(db) == []
