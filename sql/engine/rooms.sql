-- Control of queues at the claim: how many more of a queue may begin. A queue that is full or paused costs one look, not one a job.

-- Queues of which something is said, among these (NULL: all): how many more may begin (NULL: any number), and in which order.
-- Those with a limit or a rate are locked until the end of the transaction; if somebody else has one, none of it may begin now.
CREATE OR REPLACE FUNCTION :schema.queue_rooms(namespace text, queues text[])
RETURNS TABLE (queue text, room integer, counted boolean, fairness text, ageing interval)
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM :schema.controls c WHERE c.namespace = queue_rooms.namespace AND c.kind = 'queue') THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH said AS MATERIALIZED (
        SELECT f.* FROM :schema.controls_in_force f
        WHERE f.namespace = queue_rooms.namespace AND f.kind = 'queue' AND (queues IS NULL OR f.name = ANY (queues))
    ), room AS MATERIALIZED (
        SELECT r.* FROM :schema.scope_rooms(namespace,
            ARRAY(SELECT 'queue ' || s.name FROM said s WHERE s.paused_until IS NULL AND (s.concurrency IS NOT NULL OR s.rate IS NOT NULL))) r
    ), later AS (  -- a rate that holds up: somebody looks again as soon as it has gathered
        INSERT INTO :schema.openings (namespace, scope, at)
        SELECT queue_rooms.namespace, r.scope, r.rate_at FROM room r
        WHERE r.rated AND r.room = 0 AND r.rate_at > clock_timestamp()
          AND NOT EXISTS (SELECT FROM :schema.openings o WHERE o.namespace = queue_rooms.namespace AND o.scope = r.scope
                          AND o.at > clock_timestamp() AND o.at <= r.rate_at)
    )
    SELECT s.name, CASE WHEN s.paused_until IS NOT NULL THEN 0 WHEN s.concurrency IS NULL AND s.rate IS NULL THEN NULL
            ELSE COALESCE(r.room, 0) END,
        s.concurrency IS NOT NULL, s.fairness, s.ageing
    FROM said s LEFT JOIN room r ON r.scope = 'queue ' || s.name;
END $$;
