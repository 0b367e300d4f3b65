-- What people do to single runs: cancel, run now, run again, wait for.

-- Where a run is: live | finished | unknown. A live one is locked until the end of the transaction.
CREATE OR REPLACE FUNCTION :schema.lock_run(id uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM FROM :schema.jobs j WHERE j.id = lock_run.id FOR UPDATE;
    IF FOUND THEN
        RETURN 'live';
    ELSIF EXISTS (SELECT FROM :schema.attempts a WHERE a.run_id = lock_run.id AND a.final) THEN
        RETURN 'finished';
    ELSIF EXISTS (SELECT FROM :schema.run_requests r WHERE r.id = lock_run.id) THEN
        RETURN 'broken';
    END IF;
    RETURN 'unknown';
END $$;

-- Cancel a run. Answers cancelled (it waited: it is over) | cancelling (it runs: its worker is told, at once by notify, at the
-- latest with its next beat) | finished | unknown. To repeat it changes nothing.
CREATE OR REPLACE FUNCTION :schema.cancel_run(id uuid, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    place text := :schema.lock_run(id);
    held  uuid;
BEGIN
    IF place <> 'live' THEN
        RETURN CASE place WHEN 'broken' THEN 'unknown' ELSE place END;
    END IF;
    SELECT j.worker INTO held FROM :schema.jobs j WHERE j.id = cancel_run.id;
    IF held = :schema.nobody() THEN
        PERFORM :schema.end_waiting(ARRAY[id], 'cancelled',
            jsonb_build_object('type', 'Cancelled', 'message', COALESCE(reason, 'cancelled before it started')));
        RETURN 'cancelled';
    END IF;
    UPDATE :schema.jobs j SET cancelled = true WHERE j.id = cancel_run.id AND NOT j.cancelled;
    IF FOUND THEN
        INSERT INTO :schema.cancels (worker, run_id, reason) VALUES (held, cancel_run.id, reason);
        PERFORM pg_notify(:'schema', jsonb_build_object('cancel', jsonb_build_array(id), 'worker', held)::text);
    END IF;
    RETURN 'cancelling';
END $$;
COMMENT ON FUNCTION :schema.cancel_run(uuid, text) IS
    'Cancel a run: cancelled | cancelling | finished | unknown. Example: SELECT cancel_run(''019a…'', ''no longer needed'')';

-- Run a waiting run now, whatever its time. Answers ready | running | finished | unknown.
CREATE OR REPLACE FUNCTION :schema.promote_run(id uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    place text := :schema.lock_run(id);
    job   :schema.jobs;
BEGIN
    IF place <> 'live' THEN
        RETURN CASE place WHEN 'broken' THEN 'unknown' ELSE place END;
    END IF;
    SELECT * INTO job FROM :schema.jobs j WHERE j.id = promote_run.id;
    IF job.worker <> :schema.nobody() THEN
        RETURN 'running';
    END IF;
    IF job.seq IS NULL AND job.gate IS NULL THEN  -- what waits at a gate is due, and has to be let through
        PERFORM pg_current_xact_id();
        IF job.concurrency_key IS NOT NULL AND job.slots & 4 = 0 THEN
            UPDATE :schema.jobs j SET place = nextval(:'schema.job_seq'::regclass), gate = 'key ' || j.concurrency_key, state = 'b',
                run_at = statement_timestamp()
            WHERE j.id = promote_run.id RETURNING * INTO job;
            PERFORM :schema.note_waiters(job.namespace, ARRAY[job.gate]);
        ELSE
            UPDATE :schema.jobs j SET seq = nextval(:'schema.job_seq'::regclass), state = 'q', run_at = statement_timestamp()
            WHERE j.id = promote_run.id RETURNING * INTO job;
            PERFORM :schema.announce(job.namespace, ARRAY[job.queue], ARRAY[job.priority], ARRAY[job.seq], NULL);
        END IF;
    END IF;
    RETURN 'ready';
END $$;
COMMENT ON FUNCTION :schema.promote_run(uuid) IS 'Run a scheduled or retrying run now: ready | running | finished | unknown.';

-- Note in a run's timeline that somebody asked for another attempt after number `attempt`.
CREATE OR REPLACE FUNCTION :schema.note_retry(id uuid, attempt integer) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO :schema.run_log (run_id, at, attempt, kind, data)
    VALUES ($1, statement_timestamp(), $2, 'event', '{"event": "retried", "by": "hand"}')
$$;

-- Run again: a finished run (same id, attempts counted from one again, its history kept), or one waiting for a retry, now.
-- Answers ready | running | unknown.
CREATE OR REPLACE FUNCTION :schema.retry_run(id uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    place text := :schema.lock_run(id);
    asked :schema.run_requests;
    job   :schema.jobs;
BEGIN
    IF place = 'live' THEN
        PERFORM :schema.note_retry(j.id, j.attempt) FROM :schema.jobs j WHERE j.id = retry_run.id AND j.state = 't';
        RETURN :schema.promote_run(id);
    END IF;
    SELECT * INTO asked FROM :schema.run_requests r WHERE r.id = retry_run.id FOR SHARE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    PERFORM pg_current_xact_id();
    LOOP
        INSERT INTO :schema.jobs AS j
            (id, seq, place, gate, state, run_at, size, priority, max_attempts, attempt, uncounted, namespace, queue, task, group_key,
             concurrency_key, key_limit, keeps_slot, key)
        SELECT asked.id, CASE WHEN asked.concurrency_key IS NULL THEN nextval(:'schema.job_seq'::regclass) END,
            CASE WHEN asked.concurrency_key IS NOT NULL THEN nextval(:'schema.job_seq'::regclass) END, 'key ' || asked.concurrency_key,
            CASE WHEN asked.concurrency_key IS NULL THEN 'q' ELSE 'b' END::"char", statement_timestamp(), pg_column_size(asked.input), asked.priority,
            asked.max_attempts, last.attempt, last.attempt, asked.namespace, asked.queue, asked.task,
            asked.group_key, asked.concurrency_key, asked.key_limit, COALESCE(asked.keeps_slot, false),
            CASE WHEN NOT EXISTS (SELECT FROM :schema.jobs o WHERE o.namespace = asked.namespace AND o.task = asked.task
                                  AND o.key = asked.key) THEN asked.key END
        FROM (SELECT COALESCE(max(a.attempt), 0) AS attempt FROM :schema.attempts a WHERE a.run_id = asked.id) last
        ON CONFLICT DO NOTHING RETURNING * INTO job;
        EXIT WHEN FOUND;
        IF EXISTS (SELECT FROM :schema.jobs j WHERE j.id = asked.id) THEN
            RETURN :schema.promote_run(id);
        END IF;
    END LOOP;  -- another run took the key meanwhile: again, without it
    UPDATE :schema.attempts a SET final = false WHERE a.run_id = asked.id AND a.final;
    PERFORM :schema.note_retry(job.id, job.attempt);
    IF job.gate IS NOT NULL THEN
        PERFORM :schema.note_waiters(job.namespace, ARRAY[job.gate]);
    ELSE
        PERFORM :schema.announce(job.namespace, ARRAY[job.queue], ARRAY[job.priority], ARRAY[job.seq], NULL);
    END IF;
    RETURN 'ready';
END $$;
COMMENT ON FUNCTION :schema.retry_run(uuid) IS 'Run a finished run again, or a retrying one now: ready | running | unknown.';

-- Ask to be told (NOTIFY {"done": [id]}) when a run ends. Answers true while it is live; false: read its result now.
CREATE OR REPLACE FUNCTION :schema.await_run(id uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    UPDATE :schema.jobs j SET awaited = true WHERE j.id = await_run.id AND NOT j.awaited;
    RETURN FOUND OR EXISTS (SELECT FROM :schema.jobs j WHERE j.id = await_run.id);
END $$;
COMMENT ON FUNCTION :schema.await_run(uuid) IS 'Ask for a notification when a run ends; false if it is not live.';

-- The same for several, for who waits for many at once. Answers a row for each that is not live (with its result; status is null
-- if there is no such run), and for each live one that somebody has locked just now: its end will not be told, so look again soon.
CREATE OR REPLACE FUNCTION :schema.await_runs(ids uuid[])
RETURNS TABLE (id uuid, live boolean, status text, output text, error text, task text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE :schema.jobs j SET awaited = true FROM (
        SELECT l.id FROM unnest(ids) AS u (id) JOIN :schema.jobs l ON l.id = ANY (ARRAY[u.id])
        WHERE NOT l.awaited FOR UPDATE OF l SKIP LOCKED
    ) l WHERE j.id = ANY (ARRAY[l.id]);
    RETURN QUERY SELECT u.id, j.id IS NOT NULL, r.status, r.output::text, r.error::text, r.task
    FROM unnest(ids) AS u (id)
    LEFT JOIN LATERAL (SELECT j.id, j.awaited FROM :schema.jobs j WHERE j.id = u.id OFFSET 0) j ON true
    LEFT JOIN LATERAL (SELECT f.* FROM :schema.find_run(u.id) f WHERE j.id IS NULL) r ON true
    WHERE j.awaited IS NOT TRUE;
END $$;
COMMENT ON FUNCTION :schema.await_runs(uuid[]) IS 'Ask for a notification when runs end; answers those that have, with their results.';

-- DELETE FROM runs: a finished run goes with all its history; an unfinished one is refused.
CREATE OR REPLACE FUNCTION :schema.delete_run() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM :schema.run_requests r WHERE r.id = OLD.id FOR UPDATE;  -- not retried meanwhile
    IF EXISTS (SELECT FROM :schema.jobs j WHERE j.id = OLD.id) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('run %s is not finished', OLD.id),
            HINT = 'cancel it first: SELECT cancel_run(id)';
    END IF;
    DELETE FROM :schema.run_log l WHERE l.run_id = OLD.id;
    DELETE FROM :schema.attempts a WHERE a.run_id = OLD.id;
    DELETE FROM :schema.run_requests r WHERE r.id = OLD.id;
    RETURN OLD;
END $$;
