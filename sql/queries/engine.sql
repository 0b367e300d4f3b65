-- The worker's and the client's calls of the engine. JSON travels as text, so that no codec of a caller's connection matters.

-- name: add_batch
-- $1 tasks · $2 inputs · $3 namespace · $4 queues · $5 priorities · $6 max_attempts · $7 run_ats · $8 delays (s) · $9 deadlines
-- $10 keys · $11 key_modes · $12 metas · $13 tags · $14 ids · $15 lifetimes (s) · $16 largest input in bytes · $17 group keys
-- $18 concurrency keys · $19 their limits · $20 whether a failed one keeps its slot · $21 idempotency keys · $22 for how long (s)
SELECT id, outcome FROM :schema.add_batch($1::text[], $2::text[]::jsonb[], $3::text, $4::text[], $5::integer[], $6::integer[],
    $7::timestamptz[], $8::float8[], $9::timestamptz[], $10::text[], $11::text[], $12::text[]::jsonb[], $13::text[]::jsonb[],
    $14::uuid[], $15::float8[], $16::integer, group_keys => $17::text[], concurrency_keys => $18::text[],
    key_limits => $19::integer[], keeps_slots => $20::boolean[], idempotency_keys => $21::text[], ttls => $22::float8[]);

-- name: add_one
-- $1 task · $2 input · $3 namespace · $4 queue · $5 priority · $6 max_attempts · $7 largest input in bytes
SELECT :schema.add_one($1::text, $2::text, $3::text, $4::text, $5::integer, $6::integer, $7::integer) AS id;

-- name: add_same
-- Jobs of one task without options of their own: $1 task · $2 inputs · $3 namespace · $4 queue · $5 priority · $6 max_attempts
-- $7 largest input in bytes
SELECT :schema.add_same($1::text, $2::text[], $3::text, $4::text, $5::integer, $6::integer, $7::integer) AS ids;

-- name: claim_jobs
-- $1 worker · $2 claim · $3 n · $4 starting · $5 tasks · $6 queues · $7 limits · $8 lane queues · $9 lane priorities
-- $10 lane cursors · $11 lane uptos · $12 last queue · $13 promote · $14 due from · $15 namespace
SELECT id, task, queue, priority, seq, attempt, max_attempts, started, suspect, run_at, deadline, input, meta, tags, returned
FROM :schema.claim_jobs($1::uuid, $2::bigint, $3::integer, $4::integer, $5::text[], $6::text[], $7::integer[], $8::text[],
    $9::smallint[], $10::bigint[], $11::bigint[], $12::text, $13::boolean, $14::timestamptz, $15::text);

-- name: claim_lane
-- $1 worker · $2 claim · $3 n · $4 starting · $5 tasks · $6 queue · $7 priority · $8 cursor · $9 namespace
SELECT id, task, queue, priority, seq, attempt, max_attempts, started, suspect, run_at, deadline, input, meta, tags
FROM :schema.claim_lane($1::uuid, $2::bigint, $3::integer, $4::integer, $5::text[], $6::text, $7::smallint, $8::bigint, $9::text);

-- name: start_jobs
-- $1 worker · $2 ids · $3 claims · $4 whether they have begun already
SELECT :schema.start_jobs($1::uuid, $2::uuid[], $3::bigint[], $4::boolean);

-- name: expired_runs
-- Those of these runs that have ended as expired.
SELECT ARRAY(SELECT a.run_id FROM :schema.attempts a WHERE a.run_id = ANY ($1::uuid[]) AND a.final AND a.outcome = 'expired');

-- name: finish_jobs
-- $1 worker · $2 ids · $3 claims · $4 outcomes · $5 outputs · $6 errors · $7 delays (s) · $8 started (s ago) · $9 finished (s ago)
-- $10 claims of which nothing is left · $11 whether the caller claims next
SELECT :schema.finish_jobs($1::uuid, $2::uuid[], $3::bigint[], $4::text[], $5::text[]::jsonb[], $6::text[]::jsonb[],
    $7::float8[], $8::float8[], $9::float8[], $10::bigint[], true, $11::boolean);

-- name: log_runs
SELECT :schema.log_runs($1::uuid, $2::uuid[], $3::bigint[], $4::text[], $5::float8[], $6::text[]::jsonb[]);

-- name: put_back
-- Give back jobs that never started: $1 worker · $2 ids · $3 the claim of each.
SELECT id, verdict FROM :schema.put_back($1::uuid, $2::uuid[], false, claims => $3::bigint[], begun => false);

-- name: register_worker
SELECT :schema.register_worker($1::uuid, $2::text, $3::text, $4::text, $5::integer, $6::text, $7::text[], $8::integer);

-- name: publish_tasks
SELECT :schema.publish_tasks($1::text, $2::text, $3::text::jsonb);

-- name: hold_liveness
-- The session advisory lock that says: this process lives. false: somebody has it just now, be it a rescuer that looks, or an
-- earlier session of this worker that the server takes to be alive; to wait for that one could take for ever. The server itself is
-- to find out when the machine at the other end has vanished (TCP only; on a socket these settings do nothing).
SELECT pg_try_advisory_lock(:schema.liveness_key($1::uuid)), set_config('tcp_keepalives_idle', '5', false),
    set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '2', false),
    set_config('tcp_user_timeout', '15000', false);

-- name: beat_worker
-- $1 worker · $2 state · $3 running · $4 claims that it knows of · $5 how old a claim may be that it does not · $6 bytes of memory · $7 percent
-- of a core · $8 number of what it tells · $9 namespace · $10 what it tells of what has ended. Arrays are of text: of any other type asyncpg
-- asks the catalogue first, with three statements, in each new session.
SELECT known, cancels::text[], others, released, now FROM :schema.beat_worker_and_tell($1::uuid, $2::text, $3::integer, $4::text[]::bigint[], $5::interval,
    $6::bigint, $7::float4, $8::bigint, $9::text, $10::text::jsonb);

-- name: live_by_lease
-- No lock says that this worker lives: for so long after its last beat nobody is to ask for one.
UPDATE :schema.workers SET suspected_at = beat_at + $2::interval WHERE id = $1::uuid;

-- name: lost_jobs
-- Places in the arrays ($2 ids, $3 claims) of the jobs that worker $1 no longer holds.
SELECT :schema.lost_jobs($1::uuid, $2::uuid[], $3::bigint[]);

-- name: leave_worker
SELECT :schema.leave_worker($1::uuid);

-- name: rescue
SELECT id, task, verdict, worker, worker_name FROM :schema.rescue($1::uuid, $2::interval, $3::interval);

-- name: set_bells
SELECT :schema.set_bells($1::uuid, $2::text, $3::text[]);

-- name: ensure_partitions
SELECT :schema.ensure_partitions($1::integer);

-- name: forget_idempotency
SELECT :schema.forget_idempotency($1::integer);

-- name: retire_lanes
-- $1 how long a mark must have been there · $2 rows up to which nothing is marked. Answers the marks of lanes to be dropped.
SELECT :schema.retire_lanes($1::interval, $2::integer);

-- name: open_transactions
SELECT :schema.open_transactions();

-- name: any_open
SELECT :schema.any_open($1::text[]);

-- name: drop_lanes
SELECT :schema.drop_lanes($1::timestamptz[]);

-- name: cancel_run
SELECT :schema.cancel_run($1::uuid, $2::text);

-- name: retry_run
SELECT :schema.retry_run($1::uuid);

-- name: promote_run
SELECT :schema.promote_run($1::uuid);

-- name: await_run
SELECT :schema.await_run($1::uuid);

-- name: await_runs
SELECT id, live, status, output, error, task FROM :schema.await_runs($1::uuid[]);
