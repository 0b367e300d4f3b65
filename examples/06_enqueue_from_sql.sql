-- Enqueue from SQL, in your own transaction: psql "$OPENQUEUE_DATABASE_URL" -f 06_enqueue_from_sql.sql
\set ON_ERROR_STOP on

BEGIN;
SELECT openqueue.add_job('hello.greet', '{"name": "SQL"}', priority => -10, meta => '{"tenant": 42}') AS run \gset
COMMIT;

-- A whole table of jobs in one statement.
SELECT count(*) AS enqueued
FROM openqueue.add_jobs(ARRAY(
    SELECT jsonb_build_object('task', 'hello.greet', 'payload', jsonb_build_object('name', name))
    FROM (VALUES ('Ada'), ('Grace'), ('Edsger')) AS people (name)
));

-- One for later, and not any more.
SELECT openqueue.add_job('hello.greet', '{"name": "Tomorrow"}', run_at => now() + interval '1 day') AS later \gset
SELECT openqueue.cancel_run(:'later', 'no need');

-- Every run ever asked for is a row of the view runs; what happened to it are rows of run_events.
SELECT task, input, status FROM openqueue.runs WHERE meta @> '{"tenant": 42}' ORDER BY created_at DESC LIMIT 1;
SELECT event FROM openqueue.run_events WHERE run_id = :'later' ORDER BY coalesce(attempt, 0), n;

-- A wrong argument is refused, and says which.
\set ON_ERROR_STOP off
SELECT openqueue.add_job('hello.greet', '[]');
