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
