-- Statistics: what workers tell, what the leader adds up, and what people read. JSON travels as text.

-- name: tell_stats
-- $1 worker · $2 number · $3 namespace · $4 what has ended
SELECT :schema.tell_stats($1::uuid, $2::bigint, $3::text, $4::text::jsonb);

-- name: roll_up_stats
SELECT :schema.roll_up_stats($1::text, $2::integer);

-- name: forget_stats
SELECT :schema.forget_stats($1::text);

-- name: recent_stats
-- Of namespace $1 in the last $2 minutes.
SELECT queue, task, since, statement_timestamp() AS until, completed, failed, retried, snoozed, cancelled, released, waited, ran
FROM :schema.recent_stats($2::integer) WHERE namespace = $1::text ORDER BY queue, task;

-- name: stats_history
-- $1 namespace · $2 span (minute, hour, day) · $3 from · $4 before · $5 queue (null: all) · $6 task (null: all)
SELECT at, queue, task, completed, failed, retried, snoozed, cancelled, released, waited, ran FROM :schema.stats
WHERE namespace = $1::text AND span = $2::text AND at >= $3::timestamptz AND at < $4::timestamptz
  AND ($5::text IS NULL OR queue = $5::text) AND ($6::text IS NULL OR task = $6::text) ORDER BY at, queue, task;

-- name: running_jobs
SELECT worker, id, task, queue, attempt, started_at FROM :schema.running_jobs($1::text, $2::integer);
