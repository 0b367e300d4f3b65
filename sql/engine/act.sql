-- Acting on runs, one or many, with who and why: cancel, retry, promote, move, prioritize, rerun, delete.

-- Whether a run was run again by the operation of this name, or was made by it. Who asks at the same time waits.
CREATE OR REPLACE FUNCTION :schema.is_rerun(run uuid, once text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(format('%s rerun %s %s', :'schema', run, once), 0));
    RETURN EXISTS (SELECT FROM :schema.run_log l WHERE l.run_id = run AND l.kind = 'event' AND l.data ->> 'event' = 'rerun' AND l.data ->> 'once' = once)
        OR EXISTS (SELECT FROM :schema.run_requests r WHERE r.id = run AND r.meta ->> 'openqueue.rerun_once' = once);
END $$;

-- Do it to each of these runs, in the order of their ids; one row each. expected: only to those of these statuses, others answer
-- 'unexpected'. options: queue (move), priority (prioritize), input (rerun), once (rerun: a name of the operation, which adds at most one
-- run for each and none for those that it made, however often it is said). What was done stands in audit, and in the timelines.
--   outcome   done: cancelled | cancelling | ready | moved | added (made: the new run) | deleted
--             not:  finished | running | waiting | unknown | unexpected | repeated (rerun by this operation before: made is that one)
CREATE OR REPLACE FUNCTION :schema.act_on_runs(
    action text, ids uuid[], reason text DEFAULT NULL, actor text DEFAULT NULL, expected text[] DEFAULT NULL, options jsonb DEFAULT '{}',
    namespace text DEFAULT 'default'
) RETURNS TABLE (id uuid, outcome text, made uuid) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one    uuid;
    place  text;
    last   integer;
    once   text := options ->> 'once';
    done   uuid[] := '{}';
    who    text := COALESCE(actor, session_user);
BEGIN
    options := COALESCE(options, '{}'); namespace := COALESCE(namespace, 'default');
    IF $1 IS NULL OR $1 NOT IN ('cancel', 'retry', 'promote', 'move', 'prioritize', 'rerun', 'delete') THEN
        PERFORM :schema.refuse_call('action', format('is %L', $1), 'give cancel, retry, promote, move, prioritize, rerun or delete', 'act_on_runs');
    ELSIF ids IS NULL OR cardinality(ids) > 10000 THEN
        PERFORM :schema.refuse_call('ids', 'is null or longer than 10000', 'act on parts', 'act_on_runs');
    ELSIF NOT expected <@ '{scheduled,queued,blocked,running,retrying,waiting,completed,failed,cancelled,expired}'::text[] THEN
        PERFORM :schema.refuse_call('expected', format('is %s', expected), 'give statuses of runs, such as {failed,cancelled}', 'act_on_runs');
    ELSIF jsonb_typeof(options) <> 'object' OR options - '{queue,priority,input,once}'::text[] <> '{}' THEN
        PERFORM :schema.refuse_call('options', format('is %s', left(options::text, 200)), 'give an object with queue, priority, input or once', 'act_on_runs');
    ELSIF ($1 = 'move') <> (options ? 'queue') OR ($1 = 'prioritize') <> (options ? 'priority') OR ($1 = 'rerun') <> (options ? 'input') THEN
        PERFORM :schema.refuse_call('options', format('does not fit %s', $1), 'give queue to move, priority to prioritize, input to rerun', 'act_on_runs');
    ELSIF options ? 'once' AND ($1 <> 'rerun' OR COALESCE(length(once) NOT BETWEEN 1 AND 200, true)) THEN
        PERFORM :schema.refuse_call('options', 'has a once that does not fit', 'give it to rerun, as a text of 1 to 200 characters', 'act_on_runs');
    ELSIF $1 = 'prioritize' AND (options ->> 'priority' ~ '^-?[0-9]{1,5}(\.0*)?$') IS NOT TRUE THEN
        PERFORM :schema.refuse_call('options', format('has a priority of %s', options -> 'priority'), 'give -32768 to 32767; lower runs first', 'act_on_runs');
    ELSIF $1 = 'move' AND jsonb_typeof(options -> 'queue') <> 'string' THEN
        PERFORM :schema.refuse_call('options', format('has a queue of %s', options -> 'queue'), 'give the name of a queue', 'act_on_runs');
    END IF;
    FOREACH one IN ARRAY ARRAY(SELECT DISTINCT u.i FROM unnest(ids) u (i) WHERE u.i IS NOT NULL ORDER BY 1) LOOP
        id := one;
        made := NULL;
        place := :schema.lock_run(one);
        last := (SELECT max(a.attempt) FROM :schema.attempts a WHERE a.run_id = one);
        IF NOT EXISTS (SELECT FROM :schema.run_requests r WHERE r.id = one AND r.namespace = $7) THEN
            outcome := 'unknown';
        ELSIF NOT (SELECT r.status FROM :schema.find_run(one) r) = ANY (expected) THEN
            outcome := 'unexpected';
        ELSIF $1 = 'cancel' THEN
            outcome := :schema.cancel_run(one, reason);
        ELSIF $1 = 'retry' THEN
            outcome := :schema.retry_run(one);
        ELSIF $1 = 'promote' THEN
            outcome := :schema.promote_run(one);
        ELSIF $1 = 'rerun' AND :schema.is_rerun(one, once) THEN
            outcome := 'repeated';
            made := (SELECT (l.data ->> 'made')::uuid FROM :schema.run_log l
                     WHERE l.run_id = one AND l.kind = 'event' AND l.data ->> 'event' = 'rerun' AND l.data ->> 'once' = once LIMIT 1);
        ELSIF $1 = 'rerun' THEN
            SELECT 'added', :schema.add_job(r.task, options -> 'input', r.queue, priority => r.priority::integer,
                max_attempts => r.max_attempts::integer, meta => (r.meta - ARRAY['openqueue.tick', 'openqueue.rerun_once']) || jsonb_strip_nulls(jsonb_build_object(
                    'openqueue.rerun_of', one, 'openqueue.rerun_once', once)),
                tags => r.tags, group_key => q.group_key, concurrency_key => q.concurrency_key, namespace => r.namespace)
            INTO outcome, made FROM :schema.find_run(one) r CROSS JOIN (SELECT q.* FROM :schema.run_requests q WHERE q.id = one) q;
        ELSIF $1 = 'delete' AND place = 'live' THEN
            outcome := 'waiting';
        ELSIF $1 = 'delete' THEN
            DELETE FROM :schema.runs r WHERE r.id = one;
            outcome := 'deleted';
        ELSE
            SELECT replace(m.outcome, 'rescheduled', 'moved') INTO outcome FROM :schema.reschedule_jobs(ARRAY[one],
                priority => (options ->> 'priority')::numeric::integer, queue_name => options ->> 'queue') m;
        END IF;
        IF outcome IN ('cancelled', 'cancelling', 'ready', 'moved', 'added', 'deleted') THEN
            done := done || one;
            IF $1 = 'retry' THEN  -- it has noted that it was done, but not by whom
                UPDATE :schema.run_log l SET data = l.data || jsonb_strip_nulls(jsonb_build_object('by', who, 'reason', reason))
                WHERE l.run_id = one AND l.kind = 'event' AND l.at = statement_timestamp();
            END IF;
            IF $1 <> 'delete' AND NOT ($1 = 'retry' AND FOUND) THEN
                INSERT INTO :schema.run_log (run_id, at, attempt, kind, data)
                VALUES (one, statement_timestamp(), COALESCE(last, 0), 'event', jsonb_strip_nulls(jsonb_build_object(
                    'event', $1, 'by', who, 'reason', reason, 'to', COALESCE(options -> 'queue', options -> 'priority'), 'made', made, 'once', once)));
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF cardinality(done) > 0 THEN
        INSERT INTO :schema.audit (at, namespace, action, actor, reason, runs, details)
        VALUES (clock_timestamp(), $7, $1, who, reason, done, options || CASE WHEN expected IS NULL THEN '{}' ELSE jsonb_build_object('expected', expected) END);
    END IF;
END $$;
COMMENT ON FUNCTION :schema.act_on_runs(text, uuid[], text, text, text[], jsonb, text) IS
    'cancel, retry, promote, move (options queue), prioritize (priority), rerun (input: as a new run; once: a name, by which to say it again adds nothing) or delete runs, noting who and why. One row each: cancelled | cancelling | ready | moved | added | deleted, or not done: finished | running | waiting | unknown | unexpected | repeated. Example: SELECT * FROM act_on_runs(''retry'', ARRAY(SELECT id FROM find_runs(status => ''{failed}'')), ''the host is back'')';
