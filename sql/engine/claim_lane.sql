-- Claim from one lane: what claim_jobs does there, for a worker that waits with everything else read, and was told by the bell
-- where a job appeared. Nothing stands between the two but this, so nothing is in it that can be done later. It answers the
-- jobs only; where reading ended the next claim_jobs says. Nor does it ask what is governed: a worker does not call it after it heard, or
-- claim_jobs has said, that something is. What it heard came in the order of the commits, before the bell of any job added since.
CREATE OR REPLACE FUNCTION :schema.claim_lane(
    worker uuid, claim bigint, n integer, starting integer, tasks text[], lane_queue text, lane_priority smallint, cursor bigint,
    namespace text DEFAULT 'default', bytes bigint DEFAULT 4194304
) RETURNS TABLE (
    id uuid, task text, queue text, priority smallint, seq bigint, attempt integer, max_attempts smallint, started boolean,
    suspect boolean, run_at timestamptz, deadline timestamptz, input text, meta text, tags text[]
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH picked AS MATERIALIZED (
        SELECT j.ctid, j.seq, j.size FROM :schema.jobs j
        WHERE j.namespace = $9 AND j.queue = $6 AND j.priority = $7 AND j.seq > $8
          AND j.worker = :schema.nobody() AND j.task = ANY (tasks) AND j.deadline > statement_timestamp()
        ORDER BY j.seq LIMIT n FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE :schema.jobs j
        SET worker = $1, claim = $2, claimed_at = statement_timestamp(), attempt = j.attempt + 1,
            state = CASE WHEN f.place <= starting AND NOT j.suspect THEN 'r' ELSE 'c' END::"char"
        FROM (SELECT p.ctid, row_number() OVER running AS place, sum(p.size) OVER running - p.size AS before
              FROM picked p WINDOW running AS (ORDER BY p.seq ROWS UNBOUNDED PRECEDING)) f
        WHERE j.ctid = f.ctid AND f.before < bytes AND j.worker = :schema.nobody()
        RETURNING j.*
    ), recorded AS (
        INSERT INTO :schema.claims (worker, claim, claimed_at, first_seq, last_seq, priority, namespace, queue)
        SELECT $1, $2, statement_timestamp(), min(c.seq), max(c.seq), $7, $9, $6 FROM claimed c HAVING count(*) > 0
    )
    SELECT c.id, c.task, c.queue, c.priority, c.seq, c.attempt - c.uncounted, c.max_attempts, c.state = 'r', c.suspect, c.run_at,
        NULLIF(c.deadline, 'infinity'), r.input::text, r.meta::text, r.tags
    FROM claimed c
    LEFT JOIN LATERAL (SELECT r.input, r.meta, r.tags FROM :schema.run_requests r WHERE r.id = c.id OFFSET 0) r ON true
    ORDER BY c.seq;
END $$;
COMMENT ON FUNCTION :schema.claim_lane(uuid, bigint, integer, integer, text[], text, smallint, bigint, text, bigint) IS
    'Claim ready jobs from one lane, behind a cursor.';
