-- What the client reads of runs.

-- name: run_result
SELECT status, output::text AS output, error::text AS error, task FROM :schema.runs WHERE id = $1::uuid;

-- name: run_info
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.runs WHERE id = $1::uuid;

-- name: run_events
SELECT at, event, counted AS attempt, attempt AS number, worker, data::text AS data FROM :schema.run_events
WHERE run_id = $1::uuid ORDER BY at, attempt NULLS FIRST, n;

-- name: events_of_runs
-- The timelines of several runs, each in order.
SELECT run_id, at, event, counted AS attempt, attempt AS number, worker, data::text AS data FROM :schema.run_events
WHERE run_id = ANY ($1::uuid[]) ORDER BY run_id, at, attempt NULLS FIRST, n;

-- name: database_time
SELECT clock_timestamp();

-- name: runs_all
-- The newest runs: $1 namespace · $2 task · $3 queue · $4 meta contained · $5 any of these tags · $6 created from · $7 created before
-- $8 only ids below · $9 how many. Walks the primary key from its end.
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.runs
WHERE namespace = $1::text AND ($2::text IS NULL OR task = $2) AND ($3::text IS NULL OR queue = $3)
  AND ($4::text IS NULL OR meta @> $4::jsonb) AND ($5::text[] IS NULL OR tags && $5)
  AND id >= COALESCE(:schema.id_floor($6::timestamptz), '00000000-0000-0000-0000-000000000000')
  AND id < COALESCE(:schema.id_floor($7::timestamptz), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($8::uuid IS NULL OR id < $8)
ORDER BY id DESC LIMIT $9::integer;

-- name: runs_live
-- Unfinished runs, newest first: as runs_all, and $10 states as jobs stores them. Starts from the live table.
SELECT r.id, r.namespace, r.task, r.queue, r.priority, r.status, r.input::text AS input, r.output::text AS output,
    r.error::text AS error, r.progress::text AS progress, r.meta::text AS meta, r.tags, r.key, r.attempt, r.max_attempts, r.worker,
    r.created_at, r.run_at, r.started_at, r.finished_at, r.deadline
FROM :schema.jobs live JOIN LATERAL (SELECT * FROM :schema.runs r WHERE r.id = live.id) r ON true
WHERE live.namespace = $1::text AND live.state::text = ANY ($10::text[]) AND ($2::text IS NULL OR live.task = $2)
  AND ($3::text IS NULL OR live.queue = $3) AND ($4::text IS NULL OR r.meta @> $4::jsonb) AND ($5::text[] IS NULL OR r.tags && $5)
  AND live.id >= COALESCE(:schema.id_floor($6::timestamptz), '00000000-0000-0000-0000-000000000000')
  AND live.id < COALESCE(:schema.id_floor($7::timestamptz), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($8::uuid IS NULL OR live.id < $8)
ORDER BY live.id DESC LIMIT $9::integer;

-- name: runs_ended
-- Finished runs of some outcomes, newest first: as runs_all, and $10 outcomes. Starts from the final attempts.
SELECT r.id, r.namespace, r.task, r.queue, r.priority, r.status, r.input::text AS input, r.output::text AS output,
    r.error::text AS error, r.progress::text AS progress, r.meta::text AS meta, r.tags, r.key, r.attempt, r.max_attempts, r.worker,
    r.created_at, r.run_at, r.started_at, r.finished_at, r.deadline
FROM :schema.attempts ended JOIN LATERAL (SELECT * FROM :schema.runs r WHERE r.id = ended.run_id) r ON true
WHERE ended.final AND ended.outcome = ANY ($10::text[]) AND r.namespace = $1::text AND ($2::text IS NULL OR r.task = $2)
  AND ($3::text IS NULL OR r.queue = $3) AND ($4::text IS NULL OR r.meta @> $4::jsonb) AND ($5::text[] IS NULL OR r.tags && $5)
  AND ended.run_id >= COALESCE(:schema.id_floor($6::timestamptz), '00000000-0000-0000-0000-000000000000')
  AND ended.run_id < COALESCE(:schema.id_floor($7::timestamptz), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($8::uuid IS NULL OR ended.run_id < $8)
ORDER BY ended.run_id DESC LIMIT $9::integer;

-- name: run_attempts
SELECT attempt, counted, outcome, final, worker, started_at, finished_at, error::text AS error FROM :schema.attempts
WHERE run_id = $1::uuid ORDER BY attempt;

-- name: known_tasks
SELECT DISTINCT task FROM :schema.catalog WHERE namespace = $1::text ORDER BY task;

-- name: catalog
SELECT task, pool, queue, priority, max_attempts, options::text AS options, input_schema::text AS input_schema, description,
    version, seen_at
FROM :schema.catalog WHERE namespace = $1::text ORDER BY task, pool;

-- name: workers
SELECT id, namespace, name, host, pid, version, state, queues, concurrency, running, started_at, beat_at,
    extract(epoch FROM clock_timestamp() - beat_at)::float8 AS beat_age
FROM :schema.workers WHERE namespace = $1::text ORDER BY name, id;

-- name: queue_stats
-- oldest_age: seconds that the first of the ready ones has waited by now.
SELECT queue, queued, running, scheduled, retrying, oldest_ready_at,
    extract(epoch FROM GREATEST(clock_timestamp(), oldest_ready_at) - oldest_ready_at)::float8 AS oldest_age
FROM :schema.queue_stats WHERE namespace = $1::text ORDER BY queue;
