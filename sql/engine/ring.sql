-- Lanes and the doorbell: how waiting work is found, and how an idle worker learns of it at once.
-- Theory: architecture.md, "Lanes" and "The doorbell".

-- Make each lane of these (queue, priority) pairs known. Pairs may repeat; a lane may get several rows, which is harmless. A row that
-- is to be removed (lanes.sql) does not count. returns begins with a number that the lane never had, should it have been there before.
CREATE OR REPLACE FUNCTION :schema.note_lanes(namespace text, queues text[], priorities smallint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM unnest(queues, priorities) AS p (queue, priority)
                   WHERE NOT EXISTS (SELECT FROM :schema.lanes l WHERE l.namespace = note_lanes.namespace
                                     AND l.queue = p.queue AND l.priority = p.priority AND l.retired IS NULL)) THEN
        RETURN;
    END IF;
    INSERT INTO :schema.lanes (namespace, queue, priority, returns)
    SELECT DISTINCT note_lanes.namespace, p.queue, p.priority, pg_current_xact_id()::text::bigint FROM unnest(queues, priorities) AS p (queue, priority)
    WHERE NOT EXISTS (SELECT FROM :schema.lanes l
                      WHERE l.namespace = note_lanes.namespace AND l.queue = p.queue AND l.priority = p.priority
                        AND l.retired IS NULL);
END $$;

-- Is anyone waiting to be told about one of these queues?
CREATE OR REPLACE FUNCTION :schema.bell_is_on(namespace text, queues text[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM :schema.bells b
                   WHERE b.namespace = bell_is_on.namespace AND b.queue = ANY (queues || '*'::text));
END $$;

-- Ring for jobs that became ready: one NOTIFY, naming each lane and the smallest seq that appeared in it (a worker whose
-- cursor is past that seq goes back there), and only if a bell of the queue is on. due is the earliest time of jobs that were scheduled.
-- Payload: {"ready": [[queue, priority, seq], …] or "*", "due_in": seconds, "namespace": …}.
CREATE OR REPLACE FUNCTION :schema.ring(
    namespace text, queues text[], priorities smallint[], seqs bigint[], due timestamptz DEFAULT NULL
) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    ready text;
BEGIN
    IF NOT :schema.bell_is_on(namespace, queues) THEN
        RETURN;
    END IF;
    SELECT jsonb_agg(jsonb_build_array(l.queue, l.priority, l.seq))::text INTO ready
    FROM (SELECT u.queue, u.priority, min(u.seq) AS seq FROM unnest(queues, priorities, seqs) AS u (queue, priority, seq)
          WHERE u.seq IS NOT NULL GROUP BY 1, 2) l;
    IF octet_length(ready) > 6000 THEN
        ready := '"*"';
    END IF;
    PERFORM pg_notify(:'schema', jsonb_strip_nulls(jsonb_build_object(
        'namespace', namespace, 'ready', ready::jsonb, 'due_in', extract(epoch FROM due - statement_timestamp())))::text);
END $$;

-- Jobs came back to their lanes with the seq they had: tell every worker, durably (lanes.returns) and at once (the bell).
CREATE OR REPLACE FUNCTION :schema.note_returns(namespace text, queues text[], priorities smallint[], seqs bigint[])
RETURNS void LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF cardinality(queues) > 0 THEN
        PERFORM FROM :schema.lanes l
        WHERE l.namespace = note_returns.namespace
          AND (l.queue, l.priority) IN (SELECT u.queue, u.priority FROM unnest(queues, priorities) AS u (queue, priority))
        ORDER BY l.ctid FOR UPDATE;
        UPDATE :schema.lanes l SET returns = l.returns + 1
        WHERE l.namespace = note_returns.namespace
          AND (l.queue, l.priority) IN (SELECT u.queue, u.priority FROM unnest(queues, priorities) AS u (queue, priority));
        PERFORM :schema.ring(namespace, queues, priorities, seqs);
    END IF;
END $$;

-- A worker turns the bells of these queues on ({*}: all) or, with an empty array, off; answers the newest transaction id
-- begun by then: what was open at that moment neither rings nor is seen until it commits.
CREATE OR REPLACE FUNCTION :schema.set_bells(worker uuid, namespace text, queues text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    namespace := COALESCE(namespace, 'default');
    IF worker IS NULL THEN
        PERFORM :schema.refuse_call('worker', 'is null', 'give the id that start_worker answered', 'set_bells');
    ELSIF queues IS NULL OR EXISTS (SELECT FROM unnest(queues) q WHERE q IS NULL) THEN
        PERFORM :schema.refuse_call('queues', 'is null or has a null', 'give names of queues, {*} for all, or none to turn the bell off', 'set_bells');
    END IF;
    DELETE FROM :schema.bells b
    WHERE b.namespace = set_bells.namespace AND b.worker = set_bells.worker AND b.queue <> ALL (queues);
    INSERT INTO :schema.bells (worker, namespace, queue) SELECT worker, namespace, unnest(queues) ON CONFLICT DO NOTHING;
    RETURN pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
END $$;
COMMENT ON FUNCTION :schema.set_bells(uuid, text, text[]) IS 'Turn the doorbell of queues on for a worker, or off.';
