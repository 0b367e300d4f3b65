"""History that is older than the test: months with finished runs in them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

__all__ = ["add_month", "add_runs", "month_ago"]

_MONTH = """
DO $do$ DECLARE
    parent text;
    first  timestamptz := to_timestamp('{month}', 'YYYYMM');
BEGIN
    FOREACH parent IN ARRAY ARRAY['run_requests', 'attempts', 'run_log'] LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS openqueue.%I PARTITION OF openqueue.%I'
            ' FOR VALUES FROM (%L) TO (%L)', parent || '_{month}', parent,
            openqueue.id_floor(first), openqueue.id_floor(first + interval '1 month'));
    END LOOP;
END $do$"""

_RUNS = """
WITH made AS (
    INSERT INTO openqueue.run_requests
        (id, run_at, priority, max_attempts, namespace, task, queue, input, meta)
    SELECT ids.id, $1::timestamptz, 0, 25, $4, $5, $6, '{}', $8::text::jsonb FROM (
        SELECT (left(openqueue.id_floor($1::timestamptz + i * $9::interval)::text, 14) || '7'
                || right(openqueue.new_id()::text, 21))::uuid AS id
        FROM generate_series(0, $2::integer - 1) i) ids ORDER BY ids.id
    RETURNING id
), log AS (
    INSERT INTO openqueue.run_log (run_id, at, attempt, kind, data)
    SELECT id, $3::timestamptz, 1, 'log', '{"level": "info", "message": "said"}' FROM made WHERE $10
), ended AS (
    INSERT INTO openqueue.attempts
        (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, output)
    SELECT id, $12::uuid, 1, $3::timestamptz, $3::timestamptz, 1, 1, true, $7, '1'
    FROM made ORDER BY id RETURNING run_id
)
SELECT run_id FROM ended WHERE $11"""


def month_ago(months: int) -> datetime:
    """The middle of the month so many months ago."""
    now = datetime.now(UTC)
    years, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    return datetime(years, month + 1, 15, tzinfo=UTC)


async def add_month(db: Any, at: datetime, schema: str = "openqueue") -> str:
    """The partitions of the month of this time; answers its name, as 202511. `schema`: as SQL has it."""
    month = f"{at:%Y%m}"
    await db.execute("SET timezone = 'UTC'")
    await db.execute(_MONTH.replace("{month}", month).replace("openqueue.", f"{schema}."))
    return month


async def add_runs(
    db: Any,
    at: datetime,
    count: int = 1,
    *,
    finished: datetime | None = None,
    namespace: str = "default",
    task: str = "t",
    queue: str = "default",
    outcome: str = "completed",
    meta: str | None = None,
    apart: timedelta = timedelta(milliseconds=1),
    logging: bool = True,
    telling: bool = True,
) -> list[Any]:
    """Runs asked for from this time on, `apart` from each other, that all ended at `finished`; their ids."""
    await add_month(db, at)
    rows: Iterable[Any] = await db.fetch(
        _RUNS,
        *(at, count, finished or at, namespace, task, queue, outcome, meta, apart, logging, telling, uuid4()),
        timeout=3600,
    )
    return sorted(row[0] for row in rows)
