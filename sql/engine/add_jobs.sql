-- The doors for SQL: add_job for one, add_jobs for many.

-- Enqueue one job from SQL: SELECT add_job('mail.send', '{"to": "a@b.c"}', run_at => now() + interval '1 hour').
CREATE OR REPLACE FUNCTION :schema.add_job(
    task text, payload jsonb DEFAULT '{}', queue_name text DEFAULT NULL, run_at timestamptz DEFAULT NULL,
    priority integer DEFAULT NULL, max_attempts integer DEFAULT NULL, job_key text DEFAULT NULL,
    job_key_mode text DEFAULT NULL, meta jsonb DEFAULT NULL, tags text[] DEFAULT NULL, group_key text DEFAULT NULL,
    concurrency_key text DEFAULT NULL, deadline timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL,
    namespace text DEFAULT 'default'
) RETURNS uuid LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT b.id FROM :schema.add_batch(ARRAY[$1], ARRAY[COALESCE($2, '{}')], COALESCE($15, 'default'), ARRAY[$3], ARRAY[$5], ARRAY[$6], ARRAY[$4], NULL, ARRAY[$13],
        ARRAY[$7], ARRAY[$8], ARRAY[$9], ARRAY[to_jsonb($10)], caller => 'add_job',
        group_keys => CASE WHEN $11 IS NOT NULL THEN ARRAY[$11] END, concurrency_keys => CASE WHEN $12 IS NOT NULL THEN ARRAY[$12] END,
        idempotency_keys => CASE WHEN $14 IS NOT NULL THEN ARRAY[$14] END) b
$$;
COMMENT ON FUNCTION :schema.add_job(text, jsonb, text, timestamptz, integer, integer, text, text, jsonb, text[], text, text, timestamptz, text, text) IS
    'Enqueue a job in this transaction; returns the run''s id. Example: SELECT add_job(''mail.send'', ''{"to": "a@b.c"}'', priority => -10)';

-- The first fault in the shape of add_jobs' elements as (field, problem, remedy, place), or nothing.
CREATE OR REPLACE FUNCTION :schema.find_misshapen(jobs jsonb[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    known constant text[] := '{task,payload,queue_name,run_at,priority,max_attempts,job_key,job_key_mode,meta,tags,group_key,concurrency_key,deadline,idempotency_key}';
    texts constant text[] := '{task,queue_name,run_at,job_key,job_key_mode,group_key,concurrency_key,deadline,idempotency_key}';
BEGIN
    RETURN (
        SELECT CASE
            WHEN f.key IS NULL THEN ARRAY['jobs', 'must be JSON objects', 'pass {"task": "module.function", "payload": {…}}']
            WHEN f.key <> ALL (known) THEN ARRAY[f.key, 'is not known', 'known are ' || array_to_string(known, ', ')]
            ELSE ARRAY[f.key, format('is %s', f.value), 'give a string'] END || format('jobs[%s]', u.i)
        FROM unnest(jobs) WITH ORDINALITY AS u (job, i)
        LEFT JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(u.job) = 'object' THEN u.job END) AS f ON true
        WHERE (f.key IS NULL AND u.job IS DISTINCT FROM '{}') OR f.key <> ALL (known)
           OR (f.key = ANY (texts) AND jsonb_typeof(f.value) NOT IN ('string', 'null'))
        ORDER BY u.i LIMIT 1);
END $$;

-- Of add_jobs' elements, some value of which could not be read: raise which.
CREATE OR REPLACE FUNCTION :schema.refuse_unreadable(jobs jsonb[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    field record;
BEGIN
    FOR field IN
        SELECT u.i, v.name, v.type, v.remedy, u.job ->> v.name AS value FROM unnest(jobs) WITH ORDINALITY AS u (job, i)
        CROSS JOIN (VALUES ('priority', 'integer', 'give -32768 to 32767; lower runs first'),
                           ('max_attempts', 'integer', 'give 1 to 32767'),
                           ('run_at', 'timestamptz', 'give a time, such as "2030-12-24 18:00+01"'),
                           ('deadline', 'timestamptz', 'give a time, such as "2030-12-24 18:00+01"')) AS v (name, type, remedy)
        ORDER BY u.i
    LOOP
        BEGIN
            EXECUTE format('SELECT $1::%s', field.type) USING field.value;
        EXCEPTION WHEN data_exception THEN
            PERFORM :schema.refuse(field.name, format('is %s', to_jsonb(field.value)), field.remedy, format('jobs[%s]', field.i));
        END;
    END LOOP;
END $$;

-- Enqueue many from SQL; each element {"task", "payload", "queue_name", "run_at", "priority", "max_attempts", "job_key",
-- "job_key_mode", "meta", "tags", "group_key", "concurrency_key", "deadline", "idempotency_key"}; null is as good as left out. One row a
-- job, in order.
CREATE OR REPLACE FUNCTION :schema.add_jobs(jobs jsonb[], namespace text DEFAULT 'default')
RETURNS TABLE (ordinal integer, id uuid, outcome text) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    fault text[] := :schema.find_misshapen(jobs);
    a     record;
BEGIN
    IF fault IS NOT NULL THEN
        PERFORM :schema.refuse(fault[1], fault[2], fault[3], fault[4]);
    END IF;
    BEGIN
        SELECT array_agg(j ->> 'task' ORDER BY i) AS tasks,
            array_agg(COALESCE(NULLIF(j -> 'payload', 'null'), '{}') ORDER BY i) AS inputs,
            array_agg(j ->> 'queue_name' ORDER BY i) AS queues, array_agg((j ->> 'priority')::integer ORDER BY i) AS priorities,
            array_agg((j ->> 'max_attempts')::integer ORDER BY i) AS tries,
            array_agg((j ->> 'run_at')::timestamptz ORDER BY i) AS run_ats,
            array_agg((j ->> 'deadline')::timestamptz ORDER BY i) AS deadlines, array_agg(j ->> 'job_key' ORDER BY i) AS keys,
            array_agg(j ->> 'job_key_mode' ORDER BY i) AS modes, array_agg(NULLIF(j -> 'meta', 'null') ORDER BY i) AS metas,
            array_agg(NULLIF(j -> 'tags', 'null') ORDER BY i) AS tags, array_agg(j ->> 'group_key' ORDER BY i) AS groups,
            array_agg(j ->> 'concurrency_key' ORDER BY i) AS ckeys, array_agg(j ->> 'idempotency_key' ORDER BY i) AS idempotency
        INTO a FROM unnest(jobs) WITH ORDINALITY AS u (j, i);
    EXCEPTION WHEN data_exception THEN
        PERFORM :schema.refuse_unreadable(jobs);
        RAISE;
    END;
    RETURN QUERY SELECT b.* FROM :schema.add_batch(a.tasks, a.inputs, COALESCE(namespace, 'default'), a.queues, a.priorities, a.tries, a.run_ats, NULL,
                                                   a.deadlines, a.keys, a.modes, a.metas, a.tags, caller => 'add_jobs',
        group_keys => a.groups, concurrency_keys => a.ckeys, idempotency_keys => a.idempotency) b;
END $$;
COMMENT ON FUNCTION :schema.add_jobs(jsonb[], text) IS
    'Enqueue many jobs in this transaction. Example: SELECT * FROM add_jobs(ARRAY[''{"task": "mail.send", "payload": {"to": "a@b.c"}}''::jsonb])';
