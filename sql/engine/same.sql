-- Enqueue many jobs that differ in nothing but their inputs, at once: the common bulk, and the common single job. What
-- add_batch does, with nothing on the way that such jobs do not need; whatever looks unusual is left to add_batch.
-- Inputs are JSON text. Answers the ids, in order.
CREATE OR REPLACE FUNCTION :schema.add_same(
    task text, inputs text[], namespace text, queue text, priority integer, max_attempts integer, max_bytes integer
) RETURNS uuid[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_variable
DECLARE
    n     integer := cardinality(inputs);
    ids   uuid[] := ARRAY[:schema.new_id()];
    seqs  bigint[];
    head  text;
    low   bigint;
BEGIN
    IF (task <> '' AND queue <> '' AND queue <> '*' AND namespace <> '' AND length(task) <= 200 AND length(queue) <= 200
            AND length(namespace) <= 200 AND priority BETWEEN -32768 AND 32767 AND max_attempts BETWEEN 1 AND 32767) IS NOT TRUE
        OR EXISTS (SELECT FROM (SELECT unnest(inputs) AS input) u
                   WHERE (left(u.input, 1) = '{' AND octet_length(u.input) <= max_bytes) IS NOT TRUE)
    THEN
        RETURN ARRAY(SELECT b.id FROM :schema.add_batch(ARRAY[task], inputs::jsonb[], namespace, ARRAY[queue], ARRAY[priority],
                                                        ARRAY[max_attempts], max_bytes => max_bytes) b ORDER BY b.ordinal);
    END IF;
    IF n > 1 THEN
        -- As nth_id counts; the two highest of the 48 bits are 10, so that the number has 12 digits and room to grow.
        head := left(ids[1]::text, 24);
        low := ('x' || right(ids[1]::text, 12))::bit(48)::bigint & 70368744177663 | 140737488355328;
        ids := ARRAY(SELECT (head || to_hex(low + u.i))::uuid FROM (SELECT generate_series(1, n) AS i) u);
    END IF;
    -- First: it takes the transaction's id. Every later snapshot knows of that; the floor of a lane relies on it.
    INSERT INTO :schema.run_requests (id, run_at, priority, max_attempts, namespace, task, queue, input)
    SELECT u.id, statement_timestamp(), priority, max_attempts, namespace, task, queue, u.input::jsonb
    FROM (SELECT unnest(ids) AS id, unnest(inputs) AS input) u;
    seqs := ARRAY(SELECT nextval(:'schema.job_seq'::regclass) FROM (SELECT generate_series(1, n)) u);
    INSERT INTO :schema.jobs (id, seq, run_at, size, priority, max_attempts, namespace, queue, task)
    SELECT u.id, u.seq, statement_timestamp(), octet_length(u.input), priority, max_attempts, namespace, queue, task
    FROM (SELECT unnest(ids) AS id, unnest(seqs) AS seq, unnest(inputs) AS input) u;
    IF NOT EXISTS (SELECT FROM :schema.lanes l WHERE l.namespace = add_same.namespace AND l.queue = add_same.queue AND l.priority = add_same.priority) THEN
        INSERT INTO :schema.lanes (namespace, queue, priority) VALUES (namespace, queue, priority);
    END IF;
    IF EXISTS (SELECT FROM :schema.bells b WHERE b.namespace = add_same.namespace AND b.queue IN (add_same.queue, '*')) THEN
        PERFORM pg_notify(:'schema', json_build_object(
            'ready', json_build_array(json_build_array(queue, priority, seqs[1])), 'namespace', namespace)::text);
    END IF;
    RETURN ids;
END $$;
