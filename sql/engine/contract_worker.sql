-- The SQL contract, a worker's life: it appears, claims, beats, says what it does. Theory: docs/sql.md, "Work".
--
-- Every worker must be found dead when it is. Two ways, and start_worker is told which:
--   a session  (lease NULL) the session that called start_worker holds the worker's liveness lock and stays open as long as the worker
--              lives. Lock gone and no beat for 3 s: dead. No beat for 60 s, though the lock is held: dead.
--   a lease    sessions come and go (a connection for each call, a pooler in transaction mode): it is dead when lease + 3 s have
--              passed without a beat.
-- rescue knows only suspected_at, the moment from which a worker without a lock is taken for gone: a lease is that moment put off.

-- Refuse a lease that nobody could keep, or that rescue (60 s without a beat) would not.
CREATE OR REPLACE FUNCTION :schema.check_lease(lease interval, place text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF lease NOT BETWEEN '2 seconds' AND '55 seconds' THEN
        PERFORM :schema.refuse_call('lease', format('is %s', lease), 'give 2 to 55 seconds, and beat three times as often', place);
    END IF;
END $$;

-- Refuse a worker that is not known; what it held is somebody else's by now.
CREATE OR REPLACE FUNCTION :schema.refuse_unknown(worker uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', COLUMN = 'worker',
        MESSAGE = format('worker %s is not known: it has left, or was given up for dead', worker),
        HINT = 'what it held is not its own any more; begin anew: SELECT start_worker()';
END $$;

-- A worker in another language appears; answers its id. See above for lease.
CREATE OR REPLACE FUNCTION :schema.start_worker(
    name text DEFAULT NULL, queues text[] DEFAULT NULL, lease interval DEFAULT NULL, concurrency integer DEFAULT 1,
    namespace text DEFAULT 'default'
) RETURNS uuid LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    worker uuid := gen_random_uuid();
BEGIN
    PERFORM :schema.check_lease(lease, 'start_worker');
    IF array_ndims(queues) > 1 OR array_position(queues, NULL) IS NOT NULL OR cardinality(queues) = 0 OR '*' = ANY (queues) THEN
        PERFORM :schema.refuse_call('queues', 'is empty, or has a null or *', 'leave it out for all queues', 'start_worker');
    ELSIF concurrency NOT BETWEEN 1 AND 100000 THEN
        PERFORM :schema.refuse_call('concurrency', format('is %s', concurrency), 'give 1 to 100000', 'start_worker');
    ELSIF namespace = '' OR length(namespace) > 200 THEN
        PERFORM :schema.refuse_call('namespace', 'must be a name of 1 to 200 characters', 'leave it out for the default one', 'start_worker');
    END IF;
    IF lease IS NULL THEN
        PERFORM pg_advisory_lock(:schema.liveness_key(worker));
    END IF;
    INSERT INTO :schema.workers (id, namespace, name, host, pid, version, queues, concurrency, started_at, beat_at, suspected_at)
    SELECT worker, COALESCE(namespace, 'default'), COALESCE(name, NULLIF(current_setting('application_name'), ''), 'sql'),
        COALESCE(host(inet_client_addr()), 'local'), pg_backend_pid(), 'sql', queues, COALESCE(concurrency, 1), t.now, t.now, t.now + lease
    FROM (SELECT clock_timestamp() AS now) t;
    RETURN worker;
END $$;
COMMENT ON FUNCTION :schema.start_worker(text, text[], interval, integer, text) IS
    'A worker appears; answers its id. Without lease this session must stay open as long as the worker lives (it holds a lock); with one it must beat within it, from any session. Example: SELECT start_worker(''mailer'', lease => ''15 seconds'')';

-- A worker says that it lives. known is false if it was given up: what it held is not its own. cancels: runs that it should stop.
-- claims: those it knows of; jobs that it holds under others since 15 s (the reply to its claim was lost) go back. NULL: none go.
CREATE OR REPLACE FUNCTION :schema.heartbeat(worker uuid, lease interval DEFAULT '30 seconds', claims bigint[] DEFAULT NULL)
RETURNS TABLE (known boolean, cancels uuid[], released integer)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    key  bigint := :schema.liveness_key(worker);
    held bigint[] := ARRAY(SELECT c.claim FROM :schema.claims c WHERE c.worker = heartbeat.worker);
    beat record;
BEGIN
    IF worker IS NULL THEN
        PERFORM :schema.refuse_call('worker', 'is null', 'give the id that start_worker answered', 'heartbeat');
    END IF;
    PERFORM :schema.check_lease(lease, 'heartbeat');
    SELECT * INTO beat FROM :schema.beat_worker(worker, 'running', cardinality(held), COALESCE(claims, held));
    -- Who holds its lock needs no lease, and is found dead sooner without.
    UPDATE :schema.workers w SET suspected_at = w.beat_at + COALESCE(lease, '30 seconds')
    WHERE w.id = worker AND NOT EXISTS (
        SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND (l.classid::bigint << 32) | l.objid::bigint = key);
    RETURN QUERY SELECT beat.known, beat.cancels, beat.released;
END $$;
COMMENT ON FUNCTION :schema.heartbeat(uuid, interval, bigint[]) IS
    'A worker says that it lives; answers whether it is known, the runs that it should stop, and how many jobs of lost replies went back (with claims: those that it knows of). Example: SELECT * FROM heartbeat(:worker, lease => ''15 seconds'')';

-- A job's claim lasts as long as its worker is alive: to extend it is to beat, and to hear how this run stands. held | cancelling
-- (stop it, then fail_job: it ends as cancelled) | lost (stop it: somebody else has it, or it is over).
CREATE OR REPLACE FUNCTION :schema.extend_claim(worker uuid, id uuid, claim bigint, lease interval DEFAULT '30 seconds') RETURNS text
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM :schema.check_fence(worker, ARRAY[id], ARRAY[claim], false, 'extend_claim');
    PERFORM FROM :schema.heartbeat(worker, lease);
    RETURN COALESCE((SELECT CASE WHEN j.cancelled THEN 'cancelling' ELSE 'held' END FROM :schema.jobs j
                     WHERE j.id = extend_claim.id AND j.worker = extend_claim.worker AND j.claim = extend_claim.claim), 'lost');
END $$;
COMMENT ON FUNCTION :schema.extend_claim(uuid, uuid, bigint, interval) IS
    'Beat, and hear how one run stands: held | cancelling | lost. Example: SELECT extend_claim(:worker, :id, :claim)';

-- Claim up to n ready jobs and show them as running. tasks: those that the worker knows (NULL: any); queues NULL: those of
-- start_worker. claim_number: one that the worker never used before; whoever asks again with it, because the reply was lost, is
-- answered what it still holds under it. NULL: one is made.
CREATE OR REPLACE FUNCTION :schema.get_jobs(
    worker uuid, n integer DEFAULT 1, tasks text[] DEFAULT NULL, queues text[] DEFAULT NULL, claim_number bigint DEFAULT NULL
) RETURNS TABLE (
    id uuid, claim bigint, task text, payload jsonb, attempt integer, max_attempts smallint, queue_name text, priority smallint,
    run_at timestamptz, deadline timestamptz, meta jsonb, tags text[]
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    number bigint := claim_number;
    w      :schema.workers;
    held   uuid[] := '{}';
    rest   uuid[];
BEGIN
    IF worker IS NULL THEN
        PERFORM :schema.refuse_call('worker', 'is null', 'give the id that start_worker answered', 'get_jobs');
    ELSIF n NOT BETWEEN 1 AND 1000 THEN
        PERFORM :schema.refuse_call('n', format('is %s', n), 'give 1 to 1000', 'get_jobs');
    ELSIF number < 1 THEN
        PERFORM :schema.refuse_call('claim_number', format('is %s', number), 'give a number from 1 on, or leave it out', 'get_jobs');
    END IF;
    SELECT * INTO w FROM :schema.workers o WHERE o.id = worker;
    IF NOT FOUND THEN
        PERFORM :schema.refuse_unknown(worker);
    END IF;
    IF number IS NULL THEN
        number := nextval(:'schema.log_seq'::regclass);  -- any sequence will do: all that counts is that it is new
    ELSE
        held := :schema.held_jobs(worker, ARRAY[number]);
    END IF;
    IF cardinality(held) = 0 THEN
        SELECT COALESCE(array_agg(c.id), '{}'), COALESCE(array_agg(c.id) FILTER (WHERE NOT c.started), '{}') INTO held, rest
        FROM :schema.claim_jobs(worker, number, COALESCE(n, 1), tasks => $3, queues => COALESCE($4, w.queues), namespace => w.namespace) c
        WHERE c.id IS NOT NULL;
        IF cardinality(rest) > 0 THEN  -- those that were with a lost worker
            PERFORM :schema.start_jobs(worker, rest, array_fill(number, ARRAY[cardinality(rest)]));
        END IF;
    END IF;
    RETURN QUERY
    SELECT j.id, j.claim, j.task, r.input, j.attempt - j.uncounted, j.max_attempts, j.queue, j.priority, j.run_at,
        NULLIF(j.deadline, 'infinity'), COALESCE(r.meta, '{}'), COALESCE(r.tags, '{}')
    FROM unnest(held) AS h (id) JOIN :schema.jobs j ON j.id = ANY (ARRAY[h.id]) AND j.worker = $1 AND j.claim = number
    CROSS JOIN LATERAL (SELECT r.input, r.meta, r.tags FROM :schema.run_requests r WHERE r.id = j.id OFFSET 0) r
    ORDER BY j.priority, j.queue, j.seq;
END $$;
COMMENT ON FUNCTION :schema.get_jobs(uuid, integer, text[], text[], bigint) IS
    'Claim up to n ready jobs, of these tasks and queues; to ask again with the same claim_number answers the same jobs. Example: SELECT * FROM get_jobs(:worker, 10, tasks => ARRAY[''mail.send''])';

-- Claim one: no row if nothing is ready.
CREATE OR REPLACE FUNCTION :schema.get_job(
    worker uuid, tasks text[] DEFAULT NULL, queues text[] DEFAULT NULL, claim_number bigint DEFAULT NULL
) RETURNS TABLE (
    id uuid, claim bigint, task text, payload jsonb, attempt integer, max_attempts smallint, queue_name text, priority smallint,
    run_at timestamptz, deadline timestamptz, meta jsonb, tags text[]
) LANGUAGE sql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$ SELECT * FROM :schema.get_jobs($1, 1, $2, $3, $4) $$;
COMMENT ON FUNCTION :schema.get_job(uuid, text[], text[], bigint) IS
    'Claim one ready job, of these tasks and queues; no row if there is none. Commit before working on it, or do all in one transaction. Example: SELECT * FROM get_job(:worker, ARRAY[''mail.send''])';

-- A line in the log of a running attempt; false: the lease is lost, nothing was written. What is longer than 8 KiB is cut; after the
-- 1,000th of an attempt one more line says how many were dropped.
CREATE OR REPLACE FUNCTION :schema.log_run(
    worker uuid, id uuid, claim bigint, message text, level text DEFAULT 'info', fields jsonb DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    said  text;
    lines bigint;
    last  bigint;
BEGIN
    PERFORM :schema.check_fence($1, ARRAY[$2], ARRAY[$3], false, 'log_run');
    IF level NOT IN ('debug', 'info', 'warning', 'error', 'critical') THEN
        PERFORM :schema.refuse_call('level', format('is %L', level), 'give debug, info, warning, error or critical', 'log_run');
    ELSIF jsonb_typeof(fields) <> 'object' OR octet_length(fields::text) > 8192 THEN
        PERFORM :schema.refuse_call('fields', 'must be a JSON object of at most 8192 bytes', 'pass {"name": value, …}', 'log_run');
    END IF;
    said := left(COALESCE(message, ''), 8192);
    IF octet_length(said) + octet_length(COALESCE(fields, '{}')::text) > 8192 THEN  -- a character has at most four bytes
        said := left(said, GREATEST(0, 8188 - octet_length(COALESCE(fields, '{}')::text)) / 4) || '…';
    END IF;
    SELECT count(*), max(l.n) INTO lines, last FROM (
        SELECT o.n FROM :schema.jobs j JOIN :schema.run_log o ON o.run_id = j.id AND o.attempt = j.attempt AND o.kind = 'log'
        WHERE j.id = $2 AND j.worker = $1 AND j.claim = $3 ORDER BY o.n LIMIT 1001) l;
    IF lines > 1000 THEN
        PERFORM :schema.log_full(o.run_id, o.attempt, (o.data -> 'fields' ->> 'dropped')::bigint + 1)
        FROM :schema.run_log o WHERE o.run_id = $2 AND o.n = last;
        RETURN true;
    END IF;
    RETURN :schema.log_runs($1, ARRAY[$2], ARRAY[$3], ARRAY['log'], ARRAY[0], ARRAY[CASE lines WHEN 1000 THEN :schema.full_log(1)
        ELSE jsonb_build_object('level', COALESCE(level, 'info'), 'message', said, 'fields', COALESCE(fields, '{}')) END]) = '{}';
END $$;
COMMENT ON FUNCTION :schema.log_run(uuid, uuid, bigint, text, text, jsonb) IS
    'Write a line to the log of a run that a worker holds; false if its lease is lost. Example: SELECT log_run(:worker, :id, :claim, ''half of it is done'')';

-- What an attempt has said of its progress last. bounded: it has said so much already that what it says now goes into that, as long as
-- that is not a second old. A thousand patches are kept one by one, or a mebibyte of them. They are counted only for who says something
-- twice within a second, and where by the numbers of the log, which all runs share, there may be so many.
CREATE OR REPLACE FUNCTION :schema.last_patch(worker uuid, id uuid, claim bigint, OUT n bigint, OUT data jsonb, OUT bounded boolean)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    number integer := (SELECT j.attempt FROM :schema.jobs j WHERE j.id = $2 AND j.worker = $1 AND j.claim = $3);
    since  timestamptz;
BEGIN
    SELECT o.n, o.at, o.data INTO n, since, data FROM :schema.run_log o
    WHERE o.run_id = $2 AND o.attempt = number AND o.kind = 'progress' ORDER BY o.n DESC LIMIT 1;
    bounded := COALESCE(since > statement_timestamp() - interval '1 second', false)
        AND n - (SELECT o.n FROM :schema.run_log o WHERE o.run_id = $2 ORDER BY o.n LIMIT 1) >= CASE WHEN pg_column_size(data) < 1024 THEN 999 ELSE 100 END
        AND (SELECT count(*) >= 1000 OR sum(l.size) >= 1048576 FROM (
                SELECT pg_column_size(o.data) AS size FROM :schema.run_log o
                WHERE o.run_id = $2 AND o.attempt = number AND o.kind = 'progress' ORDER BY o.n LIMIT 1000) l);
END $$;

-- Progress of a running attempt, laid over what it said before (RFC 7386); false: the lease is lost, nothing was written. Whoever reads a
-- run lays all of its patches one over the other, so they are bounded: after the first thousand there is one a second, of all that was said in it.
CREATE OR REPLACE FUNCTION :schema.progress_run(worker uuid, id uuid, claim bigint, progress jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last     record;
    together jsonb;
BEGIN
    PERFORM :schema.check_fence($1, ARRAY[$2], ARRAY[$3], false, 'progress_run');
    IF jsonb_typeof(progress) IS DISTINCT FROM 'object' OR octet_length(progress::text) > 8192 THEN
        PERFORM :schema.refuse_call('progress', 'must be a JSON object of at most 8192 bytes', 'pass {"done": 5, "of": 10}', 'progress_run');
    END IF;
    last := :schema.last_patch($1, $2, $3);
    IF last.bounded THEN
        together := :schema.join_patches(last.data, progress);
        IF octet_length(together::text) <= 8192 THEN
            IF :schema.replace_patch($1, $2, $3, last.n, together) THEN
                RETURN true;
            END IF;
        END IF;
    END IF;
    RETURN :schema.log_runs($1, ARRAY[$2], ARRAY[$3], ARRAY['progress'], ARRAY[0], ARRAY[progress]) = '{}';
END $$;
COMMENT ON FUNCTION :schema.progress_run(uuid, uuid, bigint, jsonb) IS
    'Say how far a run is that a worker holds: objects are merged, null removes; false if its lease is lost. Of an attempt a thousand patches are kept one by one, later ones become one a second. Example: SELECT progress_run(:worker, :id, :claim, ''{"done": 5, "of": 10}'')';
