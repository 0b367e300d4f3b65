-- What the client reads of runs.

-- name: run_info
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.find_run($1::uuid);

-- name: run_events
SELECT at, event, counted AS attempt, attempt AS number, worker, data::text AS data
FROM :schema.find_events($1::uuid);

-- name: events_of_runs
-- The timelines of several runs, each in order.
SELECT e.run_id, e.at, e.event, e.counted AS attempt, e.attempt AS number, e.worker, e.data::text AS data
FROM unnest($1::uuid[]) AS u (id) CROSS JOIN LATERAL :schema.find_events(u.id) e
ORDER BY e.run_id, e.at, e.attempt NULLS FIRST, e.n;

-- name: database_time
SELECT clock_timestamp();

-- name: runs_all
-- The newest runs: $1 namespace · $2 task · $3 queue · $4 meta contained · $5 any of these tags · $6 created from · $7 created before
-- $8 only ids below · $9 how many.
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.list_runs($1::text, $2::text, $3::text, $4::text::jsonb, $5::text[], $6::timestamptz, $7::timestamptz, $8::uuid, $9::integer);

-- name: runs_live
-- Unfinished runs, newest first: as runs_all, and $10 states as jobs stores them.
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.list_live($1::text, $2::text, $3::text, $4::text::jsonb, $5::text[], $6::timestamptz, $7::timestamptz, $8::uuid, $9::integer, $10::text[]);

-- name: runs_ended
-- Finished runs of some outcomes, newest first: as runs_all, and $10 outcomes.
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.list_ended($1::text, $2::text, $3::text, $4::text::jsonb, $5::text[], $6::timestamptz, $7::timestamptz, $8::uuid, $9::integer, $10::text[]);

-- name: runs_scheduled
-- Runs of a schedule, newest first: as runs_all, and $10 schedule · $11 statuses (null: any).
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.list_scheduled($1::text, $2::text, $3::text, $4::text::jsonb, $5::text[], $6::timestamptz, $7::timestamptz, $8::uuid, $9::integer, $10::text, $11::text[]);

-- name: run_attempts
SELECT attempt, counted, outcome, final, worker, started_at, finished_at, error::text AS error
FROM :schema.find_attempts($1::uuid);

-- name: known_tasks
SELECT task FROM :schema.task_names($1::text) AS task;

-- name: published_inputs
-- What each pool that knows task $2 of namespace $1 takes.
SELECT input_schema FROM :schema.task_inputs($1::text, $2::text) AS input_schema;

-- name: catalog
SELECT task, pool, queue, priority, max_attempts, options::text AS options, input_schema::text AS input_schema, description,
    version, seen_at
FROM :schema.catalog WHERE namespace = $1::text ORDER BY task, pool;

-- name: workers
SELECT id, namespace, name, host, pid, version, state, queues, concurrency, running, started_at, beat_at,
    extract(epoch FROM clock_timestamp() - beat_at)::float8 AS beat_age, rss, cpu
FROM :schema.workers WHERE namespace = $1::text ORDER BY name, id;

-- name: queue_stats
-- Of each kind no more than 10,000 are counted (capped: there may be more). oldest_age: seconds that the first of the ready ones has waited.
SELECT queue, queued, blocked, running, scheduled, retrying, oldest_ready_at,
    extract(epoch FROM GREATEST(clock_timestamp(), oldest_ready_at) - oldest_ready_at)::float8 AS oldest_age, capped
FROM :schema.queue_depths($1::text) ORDER BY queue;
