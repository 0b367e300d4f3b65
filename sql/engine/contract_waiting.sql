-- The SQL contract, jobs that wait: edited, moved in time or in line, given up. What a worker holds is never touched: the answer
-- says running, and cancel_run stops it.

-- Where each of these runs stands, in order; those that wait (nobody holds them) are locked until the end of the transaction.
CREATE OR REPLACE FUNCTION :schema.lock_waiting(ids uuid[]) RETURNS TABLE (id uuid, place text)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    waiting uuid[];
BEGIN
    waiting := ARRAY(
        SELECT j.id FROM (SELECT DISTINCT u.id FROM unnest(ids) AS u (id) ORDER BY 1) u
        JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) WHERE j.worker = :schema.nobody() FOR UPDATE OF j);
    RETURN QUERY
    SELECT u.id, CASE WHEN u.id = ANY (waiting) THEN 'waiting'
        WHEN EXISTS (SELECT FROM :schema.jobs j WHERE j.id = u.id) THEN 'running'
        WHEN EXISTS (SELECT FROM :schema.attempts a WHERE a.run_id = u.id AND a.final) THEN 'finished' ELSE 'unknown' END
    FROM unnest(ids) WITH ORDINALITY AS u (id, i) ORDER BY u.i;
END $$;

-- Move waiting jobs, which the caller has locked: to another time, queue or priority (NULL: as it is). One that stays in its lane and
-- was not given a time keeps its place; a blocked one that moves is looked at again by the claim that meets it.
CREATE OR REPLACE FUNCTION :schema.move_waiting(
    ids uuid[], run_at timestamptz, queue text, priority integer, max_attempts integer, deadline timestamptz
) RETURNS void LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    lanes integer;
BEGIN
    PERFORM pg_current_xact_id();  -- before any seq is taken, as for an enqueue
    UPDATE :schema.run_requests r SET run_at = COALESCE(move_waiting.run_at, r.run_at), queue = COALESCE(move_waiting.queue, r.queue),
        priority = COALESCE(move_waiting.priority, r.priority), max_attempts = COALESCE(move_waiting.max_attempts, r.max_attempts),
        deadline = CASE WHEN move_waiting.deadline = 'infinity' THEN NULL ELSE COALESCE(move_waiting.deadline, r.deadline) END
    FROM unnest(ids) AS u (id), :schema.jobs j
    WHERE j.id = ANY (ARRAY[u.id]) AND j.attempt = 0 AND r.id = ANY (ARRAY[u.id]);
    WITH moved AS (
        UPDATE :schema.jobs j SET run_at = COALESCE(move_waiting.run_at, j.run_at), queue = n.queue, priority = n.priority,
            max_attempts = COALESCE(move_waiting.max_attempts, j.max_attempts), deadline = COALESCE(move_waiting.deadline, j.deadline),
            seq = CASE n.how WHEN 'stay' THEN j.seq WHEN 'line' THEN nextval(:'schema.job_seq'::regclass) END,
            state = CASE n.how WHEN 'stay' THEN j.state WHEN 'line' THEN 'q' WHEN 'gate' THEN 'b'
                ELSE CASE WHEN j.state = 's' OR j.attempt = j.uncounted THEN 's' ELSE 't' END::"char" END,
            place = CASE n.how WHEN 'stay' THEN j.place WHEN 'gate' THEN nextval(:'schema.job_seq'::regclass) END,
            gate = CASE n.how WHEN 'stay' THEN j.gate WHEN 'gate' THEN 'key ' || j.concurrency_key END, slots = j.slots - n.freed
        FROM unnest(ids) AS u (id), LATERAL (
            SELECT o.id, COALESCE(move_waiting.queue, o.queue) AS queue, COALESCE(move_waiting.priority, o.priority)::smallint AS priority,
                CASE WHEN move_waiting.run_at > statement_timestamp() THEN 'later'
                    WHEN move_waiting.run_at IS NOT NULL AND o.seq IS NULL AND o.gate IS NULL THEN k.now
                    WHEN COALESCE(move_waiting.queue, o.queue) = o.queue AND COALESCE(move_waiting.priority, o.priority) = o.priority THEN 'stay'
                    WHEN o.state IN ('s', 't') THEN 'stay' ELSE k.now END AS how,
                -- Let through by its key, and put off: others go first.
                (CASE WHEN move_waiting.run_at > statement_timestamp() AND (o.seq IS NOT NULL OR o.gate IS NOT NULL) THEN o.slots ELSE 0 END)::smallint AS freed
            FROM :schema.jobs o CROSS JOIN LATERAL (SELECT CASE WHEN o.concurrency_key IS NOT NULL AND o.slots & 4 = 0 THEN 'gate' ELSE 'line' END AS now) k
            WHERE o.id = u.id OFFSET 0) n
        WHERE j.id = ANY (ARRAY[n.id])
        RETURNING j.namespace, j.queue, j.priority, j.seq, j.run_at, j.task, j.concurrency_key, j.gate, n.how, n.freed
    )
    SELECT count(a.*) + count(b.*) + count(c.*) INTO lanes FROM (
        SELECT :schema.announce(m.namespace, array_agg(m.queue), array_agg(m.priority), array_agg(m.seq), array_agg(m.run_at))
        FROM moved m WHERE m.how IN ('line', 'later') GROUP BY m.namespace OFFSET 0) a
    FULL JOIN (SELECT :schema.note_waiters(m.namespace, array_agg(DISTINCT m.gate)) FROM moved m WHERE m.how = 'gate' GROUP BY m.namespace OFFSET 0) b ON true
    FULL JOIN (SELECT :schema.free_slots(array_agg(m.namespace), array_agg(m.queue), array_agg(m.task), array_agg(m.concurrency_key), array_agg(m.freed))
               FROM moved m WHERE m.freed > 0 HAVING count(*) > 0 OFFSET 0) c ON true;
END $$;

-- Refuse an option that no job may have, in the words of add_job.
CREATE OR REPLACE FUNCTION :schema.check_options(
    payload jsonb, queue_name text, run_at timestamptz, priority integer, max_attempts integer, deadline timestamptz, meta jsonb,
    tags text[], place text
) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    fault text[] := :schema.find_fault(
        tasks => ARRAY['t'], inputs => ARRAY[COALESCE(payload, '{}')], queues => ARRAY[queue_name], priorities => ARRAY[priority],
        max_attempts => ARRAY[max_attempts], run_ats => ARRAY[run_at], delays => NULL, deadlines => ARRAY[NULLIF(deadline, 'infinity')],
        keys => NULL, key_modes => NULL, metas => ARRAY[meta], tags => ARRAY[to_jsonb(tags)], ids => NULL, lifetimes => NULL,
        max_bytes => 1048576, namespace => 'default');
BEGIN
    IF fault IS NOT NULL THEN
        PERFORM :schema.refuse_call(CASE fault[1] WHEN 'input' THEN 'payload' WHEN 'queue' THEN 'queue_name' ELSE fault[1] END,
                               fault[2], fault[3], place);
    END IF;
END $$;

-- Change a run that waits and of which no attempt has started; NULL: as it is. Answers edited | started | running | finished |
-- unknown. deadline 'infinity': none.
CREATE OR REPLACE FUNCTION :schema.edit_run(
    id uuid, payload jsonb DEFAULT NULL, queue_name text DEFAULT NULL, run_at timestamptz DEFAULT NULL, priority integer DEFAULT NULL,
    max_attempts integer DEFAULT NULL, meta jsonb DEFAULT NULL, tags text[] DEFAULT NULL, deadline timestamptz DEFAULT NULL
) RETURNS text LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    place text;
BEGIN
    IF id IS NULL THEN
        PERFORM :schema.refuse_call('id', 'is null', 'give what add_job answered', 'edit_run');
    END IF;
    PERFORM :schema.check_options(payload, queue_name, run_at, priority, max_attempts, deadline, meta, tags, 'edit_run');
    place := (SELECT l.place FROM :schema.lock_waiting(ARRAY[id]) l);
    IF place <> 'waiting' THEN
        RETURN place;
    ELSIF (SELECT j.attempt > 0 FROM :schema.jobs j WHERE j.id = edit_run.id) THEN
        RETURN 'started';
    END IF;
    IF payload IS NOT NULL OR meta IS NOT NULL OR tags IS NOT NULL THEN
        UPDATE :schema.run_requests r SET input = COALESCE(payload, r.input), meta = NULLIF(COALESCE(edit_run.meta, r.meta), '{}'),
            tags = NULLIF(COALESCE(edit_run.tags, r.tags), '{}')
        WHERE r.id = edit_run.id;
        UPDATE :schema.jobs j SET size = pg_column_size(payload) WHERE j.id = edit_run.id AND payload IS NOT NULL;
    END IF;
    PERFORM :schema.move_waiting(ARRAY[id], run_at, queue_name, priority, max_attempts, deadline);
    RETURN 'edited';
END $$;
COMMENT ON FUNCTION :schema.edit_run(uuid, jsonb, text, timestamptz, integer, integer, jsonb, text[], timestamptz) IS
    'Change a run that waits and has never started; what is not given stays. Answers edited | started (it has been tried: only reschedule_jobs moves it) | running | finished | unknown. Example: SELECT edit_run(''019a…'', payload => ''{"to": "a@b.c"}'', priority => -10)';

-- Waiting jobs, also those that wait for a retry, get another time or place in line; NULL: as it is. One row each, in order:
-- rescheduled | running | finished | unknown.
CREATE OR REPLACE FUNCTION :schema.reschedule_jobs(
    ids uuid[], run_at timestamptz DEFAULT NULL, priority integer DEFAULT NULL, max_attempts integer DEFAULT NULL,
    queue_name text DEFAULT NULL
) RETURNS TABLE (id uuid, outcome text) LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    places text[];
BEGIN
    IF ids IS NULL THEN
        PERFORM :schema.refuse_call('ids', 'is null', 'give an array of ids, which may be empty', 'reschedule_jobs');
    END IF;
    PERFORM :schema.check_options(NULL, queue_name, run_at, priority, max_attempts, NULL, NULL, NULL, 'reschedule_jobs');
    places := ARRAY(SELECT l.place FROM :schema.lock_waiting(ids) l);
    PERFORM :schema.move_waiting(ARRAY(SELECT DISTINCT u.id FROM unnest(ids, places) AS u (id, place) WHERE u.place = 'waiting'),
                                 run_at, queue_name, priority, max_attempts, NULL);
    RETURN QUERY SELECT u.id, CASE u.place WHEN 'waiting' THEN 'rescheduled' ELSE u.place END
                 FROM unnest(ids, places) WITH ORDINALITY AS u (id, place, i) ORDER BY u.i;
END $$;
COMMENT ON FUNCTION :schema.reschedule_jobs(uuid[], timestamptz, integer, integer, text) IS
    'Give waiting jobs another time, priority, max_attempts or queue; one row each: rescheduled | running | finished | unknown. Example: SELECT * FROM reschedule_jobs(ARRAY(SELECT id FROM runs WHERE status = ''retrying''), run_at => now())';

-- Waiting jobs fail for good, without another attempt. One row each, in order: failed | running | finished | unknown.
CREATE OR REPLACE FUNCTION :schema.permanently_fail_jobs(ids uuid[], error text DEFAULT NULL) RETURNS TABLE (id uuid, outcome text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    places text[];
BEGIN
    IF ids IS NULL THEN
        PERFORM :schema.refuse_call('ids', 'is null', 'give an array of ids, which may be empty', 'permanently_fail_jobs');
    END IF;
    places := ARRAY(SELECT l.place FROM :schema.lock_waiting(ids) l);
    PERFORM :schema.end_waiting(ARRAY(SELECT DISTINCT u.id FROM unnest(ids, places) AS u (id, place) WHERE u.place = 'waiting'), 'failed',
        jsonb_build_object('type', 'Error', 'message', COALESCE(left(error, 16384), 'failed by hand'), 'retryable', false));
    RETURN QUERY SELECT u.id, CASE u.place WHEN 'waiting' THEN 'failed' ELSE u.place END
                 FROM unnest(ids, places) WITH ORDINALITY AS u (id, place, i) ORDER BY u.i;
END $$;
COMMENT ON FUNCTION :schema.permanently_fail_jobs(uuid[], text) IS
    'Let waiting jobs fail for good; one row each: failed | running | finished | unknown. Example: SELECT * FROM permanently_fail_jobs(ARRAY[''019a…'']::uuid[], ''the customer is gone'')';

-- The job with this key (of each task, or of one) is not to happen: cancelled if it waited; running: it goes on, without the key.
CREATE OR REPLACE FUNCTION :schema.remove_job(job_key text, task text DEFAULT NULL, namespace text DEFAULT 'default')
RETURNS TABLE (id uuid, outcome text) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    live record;
BEGIN
    IF job_key IS NULL OR job_key = '' OR length(job_key) > 500 THEN
        PERFORM :schema.refuse_call('job_key', 'must have 1 to 500 characters', 'give the job_key of add_job', 'remove_job');
    END IF;
    FOR live IN
        SELECT j.id, j.worker = :schema.nobody() AS waits FROM :schema.jobs j
        WHERE j.namespace = COALESCE($3, 'default') AND j.key = job_key AND ($2 IS NULL OR j.task = $2) ORDER BY j.id FOR UPDATE
    LOOP
        IF live.waits THEN
            PERFORM :schema.end_waiting(ARRAY[live.id], 'cancelled', '{"type": "Cancelled", "message": "removed by its key"}');
        ELSE
            UPDATE :schema.jobs j SET key = NULL WHERE j.id = live.id;
        END IF;
        RETURN QUERY SELECT live.id, CASE WHEN live.waits THEN 'cancelled' ELSE 'running' END;
    END LOOP;
END $$;
COMMENT ON FUNCTION :schema.remove_job(text, text, text) IS
    'Cancel the waiting job with this key, of each task or of one; one that runs goes on without the key (cancel_run stops it). One row each: cancelled | running. Example: SELECT * FROM remove_job(''order 7'')';
