-- What `openqueue.testing` asks of the database of a test, and how it makes and drops such databases.

-- name: testing_create_database
-- The statement that makes database $1 as a copy of $2.
SELECT pg_catalog.format('CREATE DATABASE %I TEMPLATE %I', $1::text, $2::text);

-- name: testing_rename_database
-- The statement that renames database $1 to $2.
SELECT pg_catalog.format('ALTER DATABASE %I RENAME TO %I', $1::text, $2::text);

-- name: testing_drop_database
-- The statement that drops database $1, with whoever is connected to it.
SELECT pg_catalog.format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text);

-- name: testing_databases
-- The databases whose names begin with $1.
SELECT datname::text AS name FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname::text, $1::text) ORDER BY 1;

-- name: testing_hold
-- Wait until nobody else makes the template $1.
SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended($1::text, 0));

-- name: testing_let_go
SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1::text, 0));

-- name: testing_waiting
-- Runs that wait, oldest first, as run_info; and asked_for, the time that their enqueue asked for: $1 namespace.
SELECT r.id, r.namespace, r.task, r.queue, r.priority, r.status, r.input::text AS input, r.output::text AS output,
    r.error::text AS error, r.progress::text AS progress, r.meta::text AS meta, r.tags, r.key, r.attempt, r.max_attempts, r.worker,
    r.created_at, r.run_at, r.started_at, r.finished_at, r.deadline, q.run_at AS asked_for
FROM :schema.jobs j JOIN :schema.runs r ON r.id = j.id JOIN :schema.run_requests q ON q.id = j.id
WHERE j.namespace = $1::text AND j.worker = :schema.nobody() ORDER BY j.id;

-- name: testing_claim
-- The next ready run, claimed for worker $1 under claim $2, as claim_jobs gives it (its last row has no id):
-- $3 tasks that may run · $4 the only queue (null: any) · $5 namespace.
SELECT id, task, queue, priority, seq, attempt, max_attempts, started, suspect, run_at, deadline, input, meta, tags
FROM :schema.claim_jobs($1::uuid, $2::bigint, 1, tasks => $3::text[],
    queues => CASE WHEN $4::text IS NOT NULL THEN ARRAY[$4::text] END,
    limits => CASE WHEN $4::text IS NOT NULL THEN ARRAY[1] END, namespace => $5::text);

-- name: testing_unknown
-- Tasks of ready runs that are not among $1, in queue $2 (null: any) of namespace $3.
SELECT DISTINCT j.task FROM :schema.jobs j
WHERE j.namespace = $3::text AND j.seq IS NOT NULL AND j.worker = :schema.nobody() AND j.task <> ALL ($1::text[])
  AND ($2::text IS NULL OR j.queue = $2) ORDER BY 1;

-- name: testing_advance
-- Let $1 pass for all that waits: a run that was due in an hour is due now if $1 is an hour, and a deadline is nearer by as much.
-- Only what is still to come is moved; history (what was asked, attempts, log) stays as it was written.
UPDATE :schema.jobs SET run_at = run_at - $1::interval, deadline = deadline - $1::interval WHERE worker = :schema.nobody();

-- name: testing_advance_schedules
-- Let $1 pass for schedules: they are older by as much, and the end of a pause is nearer, and when a waiting tick may run.
UPDATE :schema.schedules SET created_at = created_at - $1::interval, since_at = since_at - $1::interval,
    paused_until = CASE WHEN isfinite(paused_until) THEN paused_until - $1::interval ELSE paused_until END,
    waiting = CASE WHEN waiting ? 'run_at' THEN jsonb_set(waiting, '{run_at}', to_jsonb((waiting ->> 'run_at')::timestamptz - $1::interval))
                   ELSE waiting END;
