-- Enqueue. One implementation (add_batch) under every door: Python's arrays, and those of add_jobs.sql.

-- What the catalogue says of a task; of several pools, the one seen last. concurrency_key only where it is the same for all of the
-- task's jobs: what a worker's language computes from their arguments nobody else can.
CREATE OR REPLACE FUNCTION :schema.task_defaults(namespace text, task text)
RETURNS TABLE (queue text, priority smallint, max_attempts smallint, concurrency_key text, key_limit integer, keeps_slot boolean)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT c.queue, c.priority, c.max_attempts,
        CASE jsonb_typeof(c.options -> 'concurrency_key') WHEN 'string' THEN c.options ->> 'concurrency_key' END,
        CASE jsonb_typeof(c.options -> 'key_concurrency') WHEN 'number'
            THEN LEAST(GREATEST((c.options ->> 'key_concurrency')::numeric, 1), 32767)::integer END,
        CASE c.options ->> 'on_failure' WHEN 'block' THEN true WHEN 'step_aside' THEN false END
    FROM :schema.catalog c
    WHERE c.namespace = $1 AND c.task = $2 ORDER BY c.seen_at DESC LIMIT 1
$$;

-- The concurrency keys of n jobs with their limits, and whether a failed job keeps its slot until its retry (then it blocks those
-- behind it): what is given, else what the catalogue says, else 1, and true where it is 1. One element stands for all; '' is no key.
-- limits and keeps are null where there is no key; all three arrays are if nowhere is one.
CREATE OR REPLACE FUNCTION :schema.key_options(
    namespace text, tasks text[], n integer, concurrency_keys text[], key_limits integer[], keeps_slots boolean[],
    OUT keys text[], OUT limits smallint[], OUT keeps boolean[]
) LANGUAGE plpgsql STABLE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one_task text := CASE cardinality(tasks) WHEN 1 THEN tasks[1] END;
    one_key text := CASE cardinality(concurrency_keys) WHEN 1 THEN concurrency_keys[1] END;
    one_limit integer := CASE cardinality(key_limits) WHEN 1 THEN key_limits[1] END;
    one_keeps boolean := CASE cardinality(keeps_slots) WHEN 1 THEN keeps_slots[1] END;
BEGIN
    SELECT array_agg(k.key ORDER BY k.i), array_agg(k.slots ORDER BY k.i), array_agg(COALESCE(k.keeps, k.slots = 1) ORDER BY k.i)
    INTO keys, limits, keeps
    FROM (
        SELECT u.i, f.key, CASE WHEN f.key IS NOT NULL THEN COALESCE(u.slots, one_limit, d.key_limit, 1) END::smallint AS slots,
            CASE WHEN f.key IS NOT NULL THEN COALESCE(u.keeps, one_keeps, d.keeps_slot) END AS keeps
        FROM unnest(array_fill(true, ARRAY[key_options.n]), tasks, concurrency_keys, key_limits, keeps_slots) WITH ORDINALITY
            AS u (one, task, key, slots, keeps, i)
        LEFT JOIN LATERAL (
            SELECT t.* FROM :schema.task_defaults(key_options.namespace, COALESCE(u.task, one_task)) t
            WHERE COALESCE(u.key, one_key) IS NULL OR COALESCE(u.key, one_key) <> '' AND COALESCE(u.slots, one_limit) IS NULL
        ) d ON true
        CROSS JOIN LATERAL (SELECT NULLIF(COALESCE(u.key, one_key, d.concurrency_key), '') AS key) f
    ) k HAVING count(k.key) > 0;
END $$;

-- Tell workers of jobs just added or moved: their lanes are known, and the bell rings for those that are ready, and for
-- those due before every worker looks again by itself (its poll floor, 2 s + 10 %).
CREATE OR REPLACE FUNCTION :schema.announce(
    namespace text, queues text[], priorities smallint[], seqs bigint[], run_ats timestamptz[]
) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    due timestamptz := (SELECT min(u.run_at) FROM unnest(seqs, run_ats) AS u (seq, run_at) WHERE u.seq IS NULL);
BEGIN
    PERFORM :schema.note_lanes(namespace, queues, priorities);
    IF due > statement_timestamp() + interval '3 seconds' THEN
        due := NULL;
    END IF;
    IF due IS NOT NULL OR cardinality(array_remove(seqs, NULL)) > 0 THEN
        PERFORM :schema.ring(namespace, queues, priorities, seqs, due);
    END IF;
END $$;

-- Enqueue a batch on the caller's transaction; one row a job, in order: its id, and added | existing | replaced.
-- Arrays run in parallel; NULL, or a NULL element, means "what the catalogue says of the task". One element in tasks, queues,
-- priorities, max_attempts, concurrency_keys, key_limits, keeps_slots or ttls stands for all. run_at wins over delay (seconds). All is
-- checked before anything is stored.
--   caller             the function that a fault is told of, in the words of add_job and add_jobs; NULL: in the client's
--   concurrency_keys   '' is none, whatever the catalogue says; key_limits: how many jobs with the key run at once; keeps_slots: whether
--                      one that failed keeps the others waiting until its retry
--   idempotency_keys   remembered for ttls (seconds; NULL: a day): the same key answers the same run, whatever has become of it
CREATE OR REPLACE FUNCTION :schema.add_batch(
    tasks text[], inputs jsonb[], namespace text DEFAULT 'default', queues text[] DEFAULT NULL,
    priorities integer[] DEFAULT NULL, max_attempts integer[] DEFAULT NULL, run_ats timestamptz[] DEFAULT NULL,
    delays double precision[] DEFAULT NULL, deadlines timestamptz[] DEFAULT NULL, keys text[] DEFAULT NULL,
    key_modes text[] DEFAULT NULL, metas jsonb[] DEFAULT NULL, tags jsonb[] DEFAULT NULL, ids uuid[] DEFAULT NULL,
    lifetimes double precision[] DEFAULT NULL, max_bytes integer DEFAULT 1048576, caller text DEFAULT NULL,
    group_keys text[] DEFAULT NULL, concurrency_keys text[] DEFAULT NULL, key_limits integer[] DEFAULT NULL,
    keeps_slots boolean[] DEFAULT NULL, idempotency_keys text[] DEFAULT NULL, ttls double precision[] DEFAULT NULL
) RETURNS TABLE (ordinal integer, id uuid, outcome text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    fault text[] := :schema.find_fault(tasks, inputs, queues, priorities, max_attempts, run_ats, delays, deadlines, keys,
                                       key_modes, metas, tags, ids, lifetimes, max_bytes, namespace);
    one_task text := CASE cardinality(tasks) WHEN 1 THEN tasks[1] END;
    one_queue text := CASE cardinality(queues) WHEN 1 THEN queues[1] END;
    one_priority integer := CASE cardinality(priorities) WHEN 1 THEN priorities[1] END;
    one_max integer := CASE cardinality(max_attempts) WHEN 1 THEN max_attempts[1] END;
    one_key text;
    ckeys text[]; limits smallint[]; keeps boolean[];
    new_ids uuid[];
    alone boolean := cardinality(array_remove(keys, NULL)) > 0 OR cardinality(array_remove(ids, NULL)) > 0
                     OR cardinality(array_remove(idempotency_keys, NULL)) > 0;  -- has to be looked at one by one
BEGIN
    IF fault IS NULL AND (group_keys IS NOT NULL OR concurrency_keys <> '{""}' OR idempotency_keys IS NOT NULL) THEN
        fault := :schema.find_key_fault(group_keys, concurrency_keys, key_limits, idempotency_keys, ttls);
    END IF;
    IF fault IS NOT NULL THEN
        PERFORM :schema.refuse_fault(fault, caller);
    END IF;
    -- Before any seq is taken: an id that every later snapshot knows of. The floor of a lane relies on it.
    PERFORM pg_current_xact_id();
    IF one_task IS NOT NULL AND (one_queue IS NULL OR one_priority IS NULL OR one_max IS NULL OR concurrency_keys IS NULL) THEN
        SELECT COALESCE(one_queue, d.queue), COALESCE(one_priority, d.priority), COALESCE(one_max, d.max_attempts), d.concurrency_key
        INTO one_queue, one_priority, one_max, one_key
        FROM (SELECT) AS nothing LEFT JOIN :schema.task_defaults(add_batch.namespace, one_task) d ON true;
        one_queue := COALESCE(one_queue, 'default'); one_priority := COALESCE(one_priority, 0); one_max := COALESCE(one_max, 25);
    END IF;
    IF concurrency_keys IS NULL AND one_key IS NOT NULL THEN
        concurrency_keys := ARRAY[one_key];
    END IF;
    IF (concurrency_keys <> '{""}' OR (concurrency_keys IS NULL AND one_task IS NULL)) AND cardinality(inputs) > 0 THEN
        SELECT k.keys, k.limits, k.keeps INTO ckeys, limits, keeps
        FROM :schema.key_options(namespace, tasks, cardinality(inputs), concurrency_keys, key_limits, keeps_slots) k;
    END IF;
    IF alone THEN
        RETURN QUERY SELECT * FROM :schema.add_keyed(tasks, inputs, namespace, queues, priorities, max_attempts, run_ats,
            delays, deadlines, keys, key_modes, metas, tags, ids, lifetimes, max_bytes, caller, group_keys, ckeys, limits, keeps,
            idempotency_keys, ttls);
        RETURN;
    END IF;
    new_ids := :schema.new_ids(cardinality(inputs));
    RETURN QUERY
    WITH requests AS (
        INSERT INTO :schema.run_requests AS r
            (id, run_at, deadline, priority, max_attempts, namespace, task, queue, input, meta, tags, group_key, concurrency_key,
             key_limit, keeps_slot)
        SELECT u.id,
            COALESCE(u.run_at, statement_timestamp() + u.delay * interval '1 second', statement_timestamp()),
            COALESCE(u.deadline, statement_timestamp() + u.lifetime * interval '1 second'),
            COALESCE(u.priority, one_priority, (SELECT d.priority FROM :schema.task_defaults(add_batch.namespace, COALESCE(u.task, one_task)) d), 0),
            COALESCE(u.tries, one_max, (SELECT d.max_attempts FROM :schema.task_defaults(add_batch.namespace, COALESCE(u.task, one_task)) d), 25),
            add_batch.namespace, COALESCE(u.task, one_task),
            COALESCE(u.queue, one_queue, (SELECT d.queue FROM :schema.task_defaults(add_batch.namespace, COALESCE(u.task, one_task)) d), 'default'),
            u.input, NULLIF(u.meta, '{}'), CASE WHEN u.tag IS NOT NULL THEN (SELECT array_agg(t) FROM jsonb_array_elements_text(u.tag) t) END,
            u.group_key, u.ckey, u.slots, u.keeps
        FROM unnest(new_ids, inputs, tasks, queues, priorities, max_attempts, run_ats, delays, deadlines, metas, tags, lifetimes,
                    group_keys, ckeys, limits, keeps)
            AS u (id, input, task, queue, priority, tries, run_at, delay, deadline, meta, tag, lifetime, group_key, ckey, slots, keeps)
        RETURNING r.id, r.run_at, r.deadline, r.priority, r.max_attempts, r.task, r.queue, pg_column_size(r.input) AS size,
            r.group_key, r.concurrency_key, r.key_limit, r.keeps_slot
    ), added AS (
        INSERT INTO :schema.jobs AS j
            (id, seq, place, gate, state, run_at, deadline, size, priority, max_attempts, namespace, queue, task, group_key,
             concurrency_key, key_limit, keeps_slot)
        -- With a concurrency key it waits at the key's gate until it is let through (gates.sql).
        SELECT r.id, CASE WHEN r.run_at <= statement_timestamp() AND r.concurrency_key IS NULL THEN nextval(:'schema.job_seq'::regclass) END,
            CASE WHEN r.run_at <= statement_timestamp() AND r.concurrency_key IS NOT NULL THEN nextval(:'schema.job_seq'::regclass) END,
            CASE WHEN r.run_at <= statement_timestamp() THEN 'key ' || r.concurrency_key END,
            CASE WHEN r.run_at > statement_timestamp() THEN 's' WHEN r.concurrency_key IS NULL THEN 'q' ELSE 'b' END::"char",
            r.run_at, COALESCE(r.deadline, 'infinity'), r.size, r.priority, r.max_attempts, add_batch.namespace, r.queue, r.task,
            r.group_key, r.concurrency_key, r.key_limit, COALESCE(r.keeps_slot, false)
        FROM requests r
        RETURNING j.id, j.queue, j.priority, j.seq, j.run_at, j.gate
    ), announced AS MATERIALIZED (
        SELECT :schema.announce(add_batch.namespace, array_agg(l.queue), array_agg(l.priority), array_agg(l.seq), array_agg(l.run_at)),
            :schema.note_waiters(add_batch.namespace, (SELECT array_agg(DISTINCT a.gate) FROM added a WHERE a.gate IS NOT NULL))
        FROM (SELECT a.queue, a.priority, min(a.seq) AS seq, min(a.run_at) FILTER (WHERE a.seq IS NULL) AS run_at
              FROM added a WHERE a.gate IS NULL GROUP BY 1, 2, a.seq IS NULL) l
    )
    SELECT (row_number() OVER ())::integer, a.id, 'added' FROM added a CROSS JOIN announced;
END $$;
