-- What the leader asks and says of schedules; JSON travels as text.

-- name: lead
-- $1 namespace · $2 worker · $3 lease · $4 whether a session can hold the lock
SELECT leads, again_in, ended FROM :schema.lead($1::text, $2::uuid, $3::interval, $4::boolean);

-- name: resign
SELECT :schema.resign($1::text, $2::uuid);

-- name: schedules_of
-- What of schedules ($2 keys; null: all of them) decides when they fire.
SELECT key, revision, cron, every, timezone, start_at, end_at, max_runs, catch_up, jitter, since_at, cursor_at, fired,
    CASE WHEN isfinite(paused_until) THEN paused_until END AS paused_until, COALESCE(paused_until = 'infinity', false) AS paused,
    next_at, waiting IS NOT NULL AS waits, overlap IN ('queue', 'cancel_previous') AS patient, invalid, created_at
FROM :schema.schedules WHERE namespace = $1::text AND ($2::text[] IS NULL OR key = ANY ($2::text[]));

-- name: schedule_revisions
SELECT key, revision FROM :schema.schedules WHERE namespace = $1::text;

-- name: fire_ticks
SELECT key, at, outcome, run_id, fired FROM :schema.fire_ticks($1::text, $2::text::jsonb);

-- name: release_ticks
SELECT key, at, run_id FROM :schema.release_ticks($1::text);

-- name: mark_schedule
SELECT :schema.mark_schedule($1::text, $2::text, $3::bigint, $4::text);

-- name: publish_schedules
-- $1 namespace · $2 pool · $3 tasks that it knows · $4 what they declare
SELECT key, outcome FROM :schema.publish_schedules($1::text, $2::text, $3::text[], $4::text::jsonb);

-- name: see_schedules
SELECT :schema.see_schedules($1::text, $2::text, $3::text[]);

-- name: pause_unpublished
SELECT :schema.pause_unpublished($1::text, $2::interval);

-- name: add_schedule
-- $1 key · $2 task · $3 input · its options, intervals and times as text · $19 namespace · $20 concurrency key
SELECT :schema.add_schedule($1::text, $2::text, $3::text::jsonb, $4::text, $5::text::interval, $6::text, $7::text::timestamptz,
    $8::text::timestamptz, $9::bigint, $10::integer, $11::text, $12::text::interval, $13::text, $14::integer, $15::integer,
    $16::text::interval, $17::text::jsonb, $18::text[], $19::text, $20::text) AS outcome;

-- name: update_schedule
SELECT :schema.update_schedule($1::text, $2::text::jsonb, $3::text) AS outcome;

-- name: pause_schedule
SELECT :schema.pause_schedule($1::text, $2::text::timestamptz, $3::text, $4::text);

-- name: resume_schedule
SELECT :schema.resume_schedule($1::text, $2::text);

-- name: remove_schedule
SELECT :schema.remove_schedule($1::text, $2::text) AS removed;

-- name: run_schedule_now
SELECT n.outcome, n.run_id, (SELECT s.task FROM :schema.schedules s WHERE s.namespace = $2::text AND s.key = $1::text) AS task
FROM :schema.run_schedule_now($1::text, $2::text) n;

-- name: backfill_schedule
-- $1 key · $2 ticks · $3 namespace
SELECT at, run_id, added FROM :schema.backfill_schedule($1::text, $2::text::jsonb, $3::text);

-- name: schedule_infos
-- What people read of schedules, by key: $1 namespace · $2 key (null: all)
SELECT key, task, input::text AS input, cron, every, timezone, start_at, end_at, max_runs, catch_up, overlap, jitter, queue, priority,
    max_attempts, deadline, meta::text AS meta, tags, concurrency_key, source, CASE WHEN isfinite(paused_until) THEN paused_until END AS paused_until,
    COALESCE(paused_until = 'infinity', false) AS paused, pause_reason, cursor_at AS last_at, fired, waiting IS NOT NULL AS waiting, invalid,
    last_error, created_at, updated_at, statement_timestamp() AS now
FROM :schema.schedules WHERE namespace = $1::text AND ($2::text IS NULL OR key = $2::text) ORDER BY key;

-- name: schedule_keys
SELECT key FROM :schema.schedules WHERE namespace = $1::text ORDER BY key;

-- name: schedule_history
-- The newest ticks of a schedule: $1 namespace · $2 key · $3 only before · $4 how many
SELECT at, fired_at, run_id, number, catch_up, backfill, manual, skipped, error, missed, missed_from
FROM :schema.schedule_ticks WHERE namespace = $1::text AND schedule = $2::text AND at < COALESCE($3::text::timestamptz, 'infinity')
ORDER BY at DESC LIMIT $4::integer;
