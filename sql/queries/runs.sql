-- What the client reads of runs.

-- name: run_info
SELECT id, namespace, task, queue, priority, status, input::text AS input, output::text AS output, error::text AS error,
    progress::text AS progress, meta::text AS meta, tags, key, attempt, max_attempts, worker, created_at, run_at, started_at,
    finished_at, deadline
FROM :schema.find_run($1::uuid);

-- name: run_events
SELECT at, event, counted AS attempt, attempt AS number, worker, data::text AS data, n
FROM :schema.find_events($1::uuid);

-- name: events_of_runs
-- The timelines of several runs, each in order.
SELECT e.run_id, e.at, e.event, e.counted AS attempt, e.attempt AS number, e.worker, e.data::text AS data, e.n
FROM unnest($1::uuid[]) AS u (id) CROSS JOIN LATERAL :schema.find_events(u.id) e
ORDER BY e.run_id, e.at, e.attempt NULLS FIRST, e.n;

-- name: database_time
SELECT clock_timestamp();

-- name: search_runs
-- A page of runs, in order: $1 namespace · $2 filter (see engine/search_parts.sql) · $3 created or finished · $4 newest first · $5 the
-- cursor of the page before · $6 how many. One row without id if there is none. cursor: where to go on, null at the end; searched_to:
-- how far all was looked at.
SELECT s.cursor, s.searched_to, r.id, r.namespace, r.task, r.queue, r.priority, r.status, r.input::text AS input, r.output::text AS output,
    r.error::text AS error, r.progress::text AS progress, r.meta::text AS meta, r.tags, r.key, r.attempt, r.max_attempts, r.worker,
    r.created_at, r.run_at, r.started_at, r.finished_at, r.deadline
FROM :schema.search_runs($1::text, $2::text::jsonb, $3::text, $4::boolean, $5::text, $6::integer) s
LEFT JOIN LATERAL unnest(s.ids) WITH ORDINALITY AS u (id, i) ON true
LEFT JOIN LATERAL :schema.find_run(u.id) r ON true
ORDER BY u.i;

-- name: search_ids
-- The same without the runs: their ids alone, as one row.
SELECT ids, cursor, searched_to, walked
FROM :schema.search_runs($1::text, $2::text::jsonb, $3::text, $4::boolean, $5::text, $6::integer);

-- name: tasks_of_runs
-- Of which tasks these runs are.
SELECT DISTINCT r.task FROM :schema.run_requests r WHERE r.id = ANY ($2::uuid[]) AND r.namespace = $1::text ORDER BY 1;

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

-- name: act_on_runs
-- $1 action · $2 ids · $3 reason · $4 actor · $5 expected statuses · $6 options · $7 namespace; one row each, in the order of ids.
SELECT id, outcome, made
FROM :schema.act_on_runs($1::text, $2::uuid[], $3::text, $4::text, $5::text[], $6::text::jsonb, $7::text);

-- name: audit
-- Who did what to runs, newest first: $1 namespace · $2 to this run (null: any) · $3 only below this id · $4 how many.
SELECT id, at, action, actor, reason, runs, details::text AS details FROM :schema.audit
WHERE namespace = $1::text AND ($2::uuid IS NULL OR runs @> ARRAY[$2::uuid]) AND id < COALESCE($3::bigint, 9223372036854775807)
ORDER BY id DESC LIMIT $4::integer;
