-- What `openqueue top` reads besides the lists of queues, workers and controls. Nothing here counts history.

-- name: top_totals
-- How much has happened since the statistics of the server began, in all namespaces: runs added, and attempts ended. For rates, from two
-- readings; sessions report what they did about once a second. It is not from `stats`, where workers tell what ended with their beats,
-- every five seconds, and nobody tells what came in. Reads a row for each table of the schema, whatever is in them.
SELECT COALESCE(sum(t.n_tup_ins) FILTER (WHERE t.relname = 'jobs'), 0)::bigint AS added,
    COALESCE(sum(t.n_tup_ins) FILTER (WHERE t.relname ~ '^attempts_\d{6}$'), 0)::bigint AS ended
FROM pg_catalog.pg_stat_user_tables t WHERE t.schemaname = :'schema';

-- name: top_failures
-- The newest failures of namespace $1 ($2 queue, null: all), $3 of them among the last hundred, by the index of what did not end well.
SELECT a.run_id, a.finished_at, r.task, r.queue, a.error ->> 'type' AS type, a.error ->> 'message' AS message
FROM (SELECT * FROM :schema.attempts a WHERE a.final AND a.outcome = 'failed' ORDER BY a.finished_at DESC LIMIT 100) a
JOIN LATERAL (SELECT r.task, r.queue, r.namespace FROM :schema.run_requests r WHERE r.id = a.run_id) r
    ON r.namespace = $1::text AND ($2::text IS NULL OR r.queue = $2::text)
ORDER BY a.finished_at DESC LIMIT $3::integer;

-- name: top_failing
-- How many runs of namespace $1 have failed for good within the last minute, of the first thousand of the schema that did, by the index of
-- what did not end well.
SELECT count(*) AS failed FROM (
    SELECT a.run_id FROM :schema.attempts a WHERE a.final AND a.outcome = 'failed' AND a.finished_at > clock_timestamp() - interval '1 minute' LIMIT 1000) f
JOIN LATERAL (SELECT FROM :schema.run_requests r WHERE r.id = f.run_id AND r.namespace = $1::text) r ON true;

-- name: top_recent
-- What has ended in each queue of namespace $1 in the last five minutes, by the statistics that are added up.
SELECT r.queue, r.failed, r.retried, r.waited_p95,
    (r.completed + r.failed) / GREATEST(extract(epoch FROM statement_timestamp() - r.since) / 60, 1)::double precision AS per_minute
FROM :schema.queue_rates r WHERE r.namespace = $1::text;
