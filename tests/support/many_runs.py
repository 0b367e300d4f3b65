"""A history as a busy installation has it after months, filled by SQL: for what must not follow its size.

Fifty tasks in ten queues, of which one in four runs is of the first task and one in a hundred thousand of the
last; tenants, plans and tags from one run in two to one in some hundred thousand; bursts, late ones, errors
with tracebacks, workers that a deploy replaces each day, two schedules. The same numbers make the same.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.support.history import add_month

__all__ = ["RARE", "fill_history", "worker_of"]

RARE = {"task": "jobs.hundred_thousandth", "error": "RareError", "tag": "canary", "schedule": "nightly"}

_STAGE = """
CREATE TEMP TABLE pending (
    id uuid, n bigint, started timestamptz, finished timestamptz, again boolean,
    outcome text, failure real)"""

# $1 first number · $2 how many · $3 from when on · $4 for how long
_ASK = """
WITH made AS (
    SELECT n, at, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || left(md5(n::text), 19))::uuid AS id,
        at + CASE WHEN burst THEN random() * interval '20 minutes' WHEN n % 500 = 11 THEN random() * interval '2 days'
                  ELSE random() ^ 4 * interval '1 minute' END AS started,
        floor(48 * random() ^ 3)::integer AS task, random() AS fate, random() AS x
    FROM (SELECT n, n % 10 = 0 AS burst, CASE WHEN n % 10 = 0 THEN $3::timestamptz + $4::interval / 2 + random() * interval '1 second'
              ELSE $3::timestamptz + random() * $4::interval END AS at
          FROM generate_series($1::bigint, $1::bigint + $2::integer - 1) n) n
), asked AS (
    INSERT INTO openqueue.run_requests (id, run_at, priority, max_attempts, namespace, task, queue, key, input, meta, tags)
    SELECT id, at, 0, 25, 'default',
        CASE WHEN n % 100000 = 9 THEN 'jobs.hundred_thousandth' WHEN n % 1000 = 7 THEN 'jobs.thousandth' ELSE 'app.task_' || task END,
        CASE task % 10 WHEN 0 THEN 'default' ELSE 'queue_' || task % 10 END, CASE n % 100 WHEN 3 THEN 'order-' || n / 1000 END,
        jsonb_build_object('number', n, 'to', 'user' || n % 9973 || '@example.com'),
        CASE WHEN n % 5 > 0 THEN jsonb_build_object('tenantId', floor(5000 * x ^ 4)::integer, 'orderId', n,
            'plan', jsonb_build_object('name', (ARRAY['free', 'pro', 'team'])[1 + floor(3 * random() ^ 2)::integer])) END,
        CASE WHEN n % 2 = 1 THEN array_remove(ARRAY[CASE WHEN n % 10 < 6 THEN 'billing' END, CASE WHEN n % 100 = 17 THEN 'import' END,
            CASE WHEN n % 100000 = 21 THEN 'canary' END, 'eu'], NULL) END
    FROM made ORDER BY id
), ticks AS (
    INSERT INTO openqueue.schedule_ticks (namespace, schedule, at, fired_at, run_id)
    SELECT 'default', CASE WHEN n % 70000 = 1 THEN 'nightly' ELSE 'minutely' END, at, at, id FROM made WHERE n % 50 = 1
    ON CONFLICT DO NOTHING
)
INSERT INTO pending SELECT id, n, started, started + interval '10 ms' + random() ^ 6 * interval '5 minutes', n % 33 = 0,
    CASE WHEN n % 200000 = 4 OR fate < 0.025 THEN 'failed' WHEN fate < 0.04 THEN 'cancelled' WHEN fate < 0.045 THEN 'expired' ELSE 'completed' END,
    random() FROM made"""  # noqa: E501  a table of runs

# $1 what has ended before this
_END = """
WITH gone AS (DELETE FROM pending WHERE finished < $1::timestamptz RETURNING *)
INSERT INTO openqueue.attempts (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, output, error)
SELECT id, worker, n, CASE WHEN outcome <> 'expired' THEN started END, CASE WHEN final THEN finished ELSE started + interval '1 ms' END,
    attempt, attempt, final, outcome, CASE outcome WHEN 'completed' THEN '{"sent": true}'::jsonb END,
    CASE WHEN outcome <> 'completed' THEN jsonb_build_object(
        'type', CASE WHEN n % 200000 = 4 THEN 'RareError' WHEN outcome <> 'failed' THEN initcap(outcome)
                     ELSE (ARRAY['TimeoutError', 'ConnectionError', 'ValueError', 'KeyError'])[1 + floor(4 * failure ^ 3)::integer] END,
        'message', 'host ' || n % 4001 || ' did not answer', 'traceback', repeat('  File "app/task.py", line 12, in send' || chr(10), 12)) END
FROM (SELECT g.id, g.n, g.started, g.finished, g.failure, a AS attempt, a = 1 + g.again::integer AS final,
        CASE WHEN a = 1 + g.again::integer THEN g.outcome ELSE 'failed' END AS outcome,
        md5(extract(epoch FROM date_trunc('day', g.finished))::bigint || '-' || g.n % 20)::uuid AS worker
      FROM gone g CROSS JOIN LATERAL generate_series(1, 1 + g.again::integer) a) g
ORDER BY finished, attempt"""  # noqa: E501  a table of runs

_INDEXES = """
SELECT c.relname AS name, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') AS text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'openqueue'::regnamespace AND c.relkind = 'I' AND NOT i.indisprimary"""


async def fill_history(db: Any, count: int, *, until: datetime, days: int = 150, chunks: int = 300) -> None:
    """So many finished runs, in the order in which they would have come, of the days up to a time."""
    schema = await db.fetchval("SHOW search_path")
    await db.execute(
        "SET search_path = openqueue, pg_temp; SET synchronous_commit = off; SELECT setseed(0.5)"
    )
    await db.execute(_STAGE)
    length = timedelta(days=days) / chunks
    begin = until - length * chunks
    for month in range(days // 28 + 2):
        if (at := begin + timedelta(days=28 * month)) < until:
            await add_month(db, at)
    await add_month(db, until)
    indexes = await db.fetch(_INDEXES)
    for row in indexes:  # made afterwards, which takes a tenth of the time
        await db.execute(f'DROP INDEX openqueue."{row["name"]}"')
    many = -(-count // chunks)
    for number in range(chunks):
        first, at = number * many, begin + number * length
        await db.execute(_ASK, first, min(many, count - first), at, length, timeout=3600)
        await db.execute(_END, at + length, timeout=3600)
        if number % 50 == 0:
            await db.execute("ANALYZE pending")
    await db.execute(_END, datetime(9999, 1, 1, tzinfo=UTC), timeout=3600)
    for row in indexes:
        await db.execute(row["text"], timeout=3600)
    await db.execute("DROP TABLE pending")
    await db.execute("VACUUM ANALYZE openqueue.run_requests, openqueue.attempts", timeout=3600)
    await db.execute("SELECT set_config('search_path', $1, false)", schema)


def worker_of(day: datetime, number: int) -> str:
    """The id of one of the twenty workers of a day."""
    midnight = int(day.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
    made = hashlib.md5(f"{midnight}-{number}".encode(), usedforsecurity=False)
    return str(UUID(made.hexdigest()))
