-- What the pruner asks and does; rules are four arrays: tasks, queues, statuses, ages (see engine/prune.sql).

-- name: first_answered
SELECT :schema.first_answered();

-- name: prune_batch
-- $1 namespace · $2–$5 rules · $6 after which run · $7 before which · $8 how many to look at
-- $9 first_answered · $10 whether only to look
SELECT ends::text AS ends, attempts, lines, last
FROM :schema.prune_batch($1::text, $2::text[], $3::text[], $4::text[], $5::interval[], $6::uuid, $7::uuid, $8::integer, $9::uuid,
    $10::boolean);

-- name: pick_ended
-- As prune_batch, but nothing is removed: they are locked, for who archives them first.
SELECT ids, ends, last
FROM :schema.pick_ended($1::text, $2::text[], $3::text[], $4::text[], $5::interval[], $6::uuid, $7::uuid, $8::integer, $9::uuid, true);

-- name: remove_ended
SELECT runs, attempts, lines FROM :schema.remove_ended($1::uuid[]);

-- name: archived
-- Runs with their attempts and events, each as the text of a JSON object.
SELECT :schema.archived(u.id)::text FROM unnest($1::uuid[]) AS u (id);

-- name: runs_between
-- At most $3 ids after $1 and before $2, in order.
SELECT ARRAY(SELECT r.id FROM :schema.run_requests r WHERE r.id > $1::uuid AND r.id < $2::uuid ORDER BY r.id LIMIT $3::integer);

-- name: history_sizes
SELECT relation, rows, dead, bytes FROM :schema.history_sizes();

-- name: history_months
SELECT month, low, high, state, rows, bytes FROM :schema.history_months();

-- name: why_month_stays
SELECT :schema.why_month_stays($1::text, $2::text, $3::text[], $4::text[], $5::text[], $6::interval[]);

-- name: freeze_month
SELECT :schema.freeze_month($1::text);

-- name: thaw_month
SELECT :schema.thaw_month($1::text);

-- name: retire_month
SELECT :schema.retire_month($1::text);

-- name: lock_months
-- Whether this session is the one that drops months, until it ends.
SELECT pg_try_advisory_lock(hashtextextended(:'schema' || ' months', 0));

-- name: lock_for_an_instant
SELECT set_config('lock_timeout', '100ms', false), set_config('statement_timeout', '0', false);

-- name: prune_ticks
SELECT :schema.prune_ticks(statement_timestamp() - $1::interval, $2::integer);

-- name: forget_workers
SELECT :schema.forget_workers();
