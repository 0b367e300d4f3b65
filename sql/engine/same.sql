-- Enqueue jobs that have no options of their own, as most have: what add_batch does, with nothing on the way that such jobs do
-- not need. Inputs are JSON text. What looks unusual is left to add_batch, which knows what to say of it, and so are large inputs:
-- a number may be written out as forty times its text.

-- One job: a single statement, as its fixed cost is most of what an idle worker's latency is made of. Answers its id.
CREATE OR REPLACE FUNCTION :schema.add_one(
    task text, input text, namespace text, queue text, priority integer, max_attempts integer, max_bytes integer
) RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    id    uuid := :schema.new_id();
    known boolean;
BEGIN
    IF (task <> '' AND queue <> '' AND queue <> '*' AND namespace <> '' AND length(task) <= 200 AND length(queue) <= 200
            AND length(namespace) <= 200 AND priority BETWEEN -32768 AND 32767 AND max_attempts BETWEEN 1 AND 32767
            AND left(input, 1) = '{' AND octet_length(input) <= max_bytes / 40) IS NOT TRUE
    THEN
        RETURN (SELECT b.id FROM :schema.add_batch(ARRAY[task], ARRAY[input::jsonb], namespace, ARRAY[queue], ARRAY[priority],
                                                   ARRAY[max_attempts], max_bytes => max_bytes) b);
    END IF;
    -- The request first: it takes the transaction's id. Every later snapshot knows of that; the floor of a lane relies on it.
    WITH request AS (
        INSERT INTO :schema.run_requests AS r (id, run_at, priority, max_attempts, namespace, task, queue, input)
        VALUES (id, statement_timestamp(), priority, max_attempts, namespace, task, queue, input::jsonb) RETURNING r.id
    ), job AS (
        INSERT INTO :schema.jobs AS j (id, seq, run_at, size, priority, max_attempts, namespace, queue, task)
        SELECT r.id, nextval(:'schema.job_seq'::regclass), statement_timestamp(), octet_length(input), priority, max_attempts,
            namespace, queue, task
        FROM request r RETURNING j.seq
    )
    SELECT EXISTS (SELECT FROM :schema.lanes l
                   WHERE l.namespace = add_one.namespace AND l.queue = add_one.queue AND l.priority = add_one.priority
                     AND l.retired IS NULL),
        CASE WHEN EXISTS (SELECT FROM :schema.bells b
                          WHERE b.namespace = add_one.namespace AND b.queue IN (add_one.queue, '*'))
        THEN pg_notify(:'schema', json_build_object('namespace', namespace,
                           'ready', json_build_array(json_build_array(queue, priority, job.seq)))::text) END
    INTO known FROM job;
    IF NOT known THEN
        PERFORM :schema.note_lanes(namespace, ARRAY[queue], ARRAY[priority::smallint]);
    END IF;
    RETURN id;
END $$;

-- Many jobs that differ in nothing but their inputs. Answers their ids, in order.
CREATE OR REPLACE FUNCTION :schema.add_same(
    task text, inputs text[], namespace text, queue text, priority integer, max_attempts integer, max_bytes integer
) RETURNS uuid[] LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    ids  uuid[];
    seqs bigint[];
BEGIN
    IF (task <> '' AND queue <> '' AND queue <> '*' AND namespace <> '' AND length(task) <= 200 AND length(queue) <= 200
            AND length(namespace) <= 200 AND priority BETWEEN -32768 AND 32767 AND max_attempts BETWEEN 1 AND 32767) IS NOT TRUE
        OR EXISTS (SELECT FROM (SELECT unnest(inputs) AS input) u
                   WHERE (left(u.input, 1) = '{' AND octet_length(u.input) <= max_bytes / 40) IS NOT TRUE)
    THEN
        RETURN ARRAY(SELECT b.id FROM :schema.add_batch(ARRAY[task], inputs::jsonb[], namespace, ARRAY[queue], ARRAY[priority],
                                                        ARRAY[max_attempts], max_bytes => max_bytes) b ORDER BY b.ordinal);
    END IF;
    -- Arrays, unnested once for each table: rows that went through a common table expression would be stored twice more.
    ids := :schema.new_ids(cardinality(inputs));
    INSERT INTO :schema.run_requests (id, run_at, priority, max_attempts, namespace, task, queue, input)
    SELECT u.id, statement_timestamp(), priority, max_attempts, namespace, task, queue, u.input::jsonb
    FROM (SELECT unnest(ids) AS id, unnest(inputs) AS input) u;
    seqs := ARRAY(SELECT nextval(:'schema.job_seq'::regclass) FROM (SELECT unnest(ids)) u);
    INSERT INTO :schema.jobs (id, seq, run_at, size, priority, max_attempts, namespace, queue, task)
    SELECT u.id, u.seq, statement_timestamp(), octet_length(u.input), priority, max_attempts, namespace, queue, task
    FROM (SELECT unnest(ids) AS id, unnest(seqs) AS seq, unnest(inputs) AS input) u;
    PERFORM :schema.note_lanes(namespace, ARRAY[queue], ARRAY[priority::smallint]);
    PERFORM :schema.ring(namespace, ARRAY[queue], ARRAY[priority::smallint], seqs[1:1]);
    RETURN ids;
END $$;
