-- Claiming. Theory: architecture.md, "Lanes" and "Claim"; the worker's half is openqueue/worker/intake/lanes.py.
--
-- On plans. A queue table is often empty when its plan is made, and then a scan of a whole index costs as little as a look-up
-- in it; the plan stays when the table has grown. So the engine leaves the planner no such choice: rows are found by
-- `j.id = ANY (ARRAY[u.id])`, which cannot be merge-joined and so makes no ordered scan of the whole index worth having,
-- or in a LATERAL subquery with OFFSET 0, where the key is a constant. By ctid only where a row that was changed
-- meanwhile may be missed.

-- Scheduled jobs, retries and snoozes whose time has come get their place in line, oldest first; answers how many.
-- due_from: everything due before it has been moved already (NULL: look from the beginning).
CREATE OR REPLACE FUNCTION :schema.promote_due(namespace text, due_from timestamptz DEFAULT NULL, most integer DEFAULT 1000)
RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moved integer := 0;
BEGIN
    IF EXISTS (SELECT FROM :schema.jobs j WHERE j.namespace = promote_due.namespace AND j.seq IS NULL AND j.gate IS NULL
               AND j.run_at >= COALESCE(due_from, '-infinity') AND j.run_at <= statement_timestamp()) THEN
        PERFORM pg_current_xact_id();
        WITH due AS MATERIALIZED (
            SELECT j.id, j.concurrency_key IS NOT NULL AND j.slots & 4 = 0 AS waits_key FROM :schema.jobs j
            WHERE j.namespace = promote_due.namespace AND j.seq IS NULL AND j.gate IS NULL
              AND j.run_at >= COALESCE(due_from, '-infinity') AND j.run_at <= statement_timestamp()
            ORDER BY j.run_at LIMIT most FOR UPDATE SKIP LOCKED
        ), ready AS (
            UPDATE :schema.jobs j SET state = CASE WHEN due.waits_key THEN 'b' ELSE 'q' END::"char",
                seq = CASE WHEN NOT due.waits_key THEN nextval(:'schema.job_seq'::regclass) END,
                place = CASE WHEN due.waits_key THEN nextval(:'schema.job_seq'::regclass) END,
                gate = CASE WHEN due.waits_key THEN 'key ' || j.concurrency_key END
            FROM due WHERE j.id = ANY (ARRAY[due.id]) RETURNING j.queue, j.priority, j.seq, j.gate
        )
        SELECT count(*), :schema.announce(promote_due.namespace, array_agg(queue) FILTER (WHERE seq IS NOT NULL),
                array_agg(priority) FILTER (WHERE seq IS NOT NULL), array_agg(seq) FILTER (WHERE seq IS NOT NULL), NULL),
            :schema.note_waiters(promote_due.namespace, array_agg(DISTINCT gate) FILTER (WHERE gate IS NOT NULL))
        INTO moved FROM ready HAVING count(*) > 0;
    END IF;
    RETURN COALESCE(moved, 0);
END $$;

-- Waiting jobs past their deadline end as expired; answers how many.
CREATE OR REPLACE FUNCTION :schema.expire_due(namespace text, most integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    late uuid[] := ARRAY(
        SELECT j.id FROM :schema.jobs j
        WHERE j.namespace = expire_due.namespace AND j.deadline <= statement_timestamp() AND j.deadline < 'infinity'
          AND j.worker = :schema.nobody()
        ORDER BY j.deadline LIMIT most FOR UPDATE SKIP LOCKED);
BEGIN
    IF cardinality(late) > 0 THEN
        RETURN :schema.end_waiting(late, 'expired',
            jsonb_build_object('type', 'Expired', 'message', 'not started by its deadline'));
    END IF;
    RETURN 0;
END $$;

-- The lanes in use, each with where the caller read to: (cursor, upto]. Grouped, not joined: by nested loops, which is all that is allowed
-- here, many lanes would take their square.
CREATE OR REPLACE FUNCTION :schema.known_lanes(
    namespace text, lane_queues text[], lane_priorities smallint[], lane_cursors bigint[], lane_uptos bigint[]
) RETURNS TABLE (queue text, priority smallint, returns bigint, cursor bigint, upto bigint) LANGUAGE sql STABLE AS $$
    SELECT g.queue, g.priority, sum(g.returns)::bigint, COALESCE(max(g.cursor), 0), COALESCE(max(g.upto), 9223372036854775807)
    FROM (SELECT a.queue, a.priority, a.returns, NULL::bigint AS cursor, NULL::bigint AS upto FROM :schema.lanes a WHERE a.namespace = $1
          UNION ALL SELECT c.queue, c.priority, NULL, c.cursor, c.upto FROM unnest($2, $3, $4, $5) AS c (queue, priority, cursor, upto)) g
    GROUP BY 1, 2 HAVING count(g.returns) > 0
$$;

-- Claim up to n ready jobs for a worker, lane after lane: by priority, inside one by queue (first those after last_queue),
-- inside a lane by seq, beginning behind the cursor that the worker passes for it.
--   claim      the fence: a number that this worker never used before; made by the caller before the call
--   starting   how many of them start at once; the rest show as queued until start_jobs says otherwise, and so do those
--              that were with a lost worker
--   tasks      the tasks that the caller knows (NULL: any); others are passed over, and wait for a worker that knows them
--   queues     queues to look at (NULL: all), each with the most to take from it in limits
--   lane_*     for each lane known to the caller: read only seq in (cursor, upto]; a lane not named is read from its beginning
--   promote    also move due jobs into line first, from due_from on
-- One row a job; returned: it came back to a place that reading had passed. A last row without id carries in input where reading ended, as JSON:
--   {"xmin": of this snapshot, "xid": of this transaction if it has one, "newest": the last seq given out,
--    "due": seconds until the next scheduled job, or until a gate opens; "governed", "more": see claim_governed.sql,
--    "lanes": [[queue, priority, returns, end: read up to here, or null: up to the last job taken], …]}
CREATE OR REPLACE FUNCTION :schema.claim_jobs(
    worker uuid, claim bigint, n integer, starting integer DEFAULT NULL, tasks text[] DEFAULT NULL,
    queues text[] DEFAULT NULL, limits integer[] DEFAULT NULL, lane_queues text[] DEFAULT NULL,
    lane_priorities smallint[] DEFAULT NULL, lane_cursors bigint[] DEFAULT NULL, lane_uptos bigint[] DEFAULT NULL,
    last_queue text DEFAULT '', promote boolean DEFAULT true, due_from timestamptz DEFAULT NULL,
    namespace text DEFAULT 'default', bytes bigint DEFAULT 4194304
) RETURNS TABLE (
    id uuid, task text, queue text, priority smallint, seq bigint, attempt integer, max_attempts smallint, started boolean,
    suspect boolean, run_at timestamptz, deadline timestamptz, input text, meta text, tags text[], returned boolean
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    limited   boolean := COALESCE(cardinality(array_remove(limits, NULL)) > 0, false);
    all_start boolean;
    governed  boolean;
    apart     text[];
    ends      json;
    opened    integer;
    closer    boolean;
    taken     :schema.jobs[];
BEGIN
    IF cardinality(array_remove(lane_uptos, NULL)) > 0 THEN
        PERFORM pg_current_xact_id();  -- a sweep has one even if it finds nothing: floors could not rise otherwise
    END IF;
    IF promote THEN
        PERFORM :schema.promote_due(namespace, due_from), :schema.expire_due(namespace);
    END IF;
    governed := :schema.governed(namespace);
    IF governed THEN  -- mostly by what does not concern this claim: queues of which something is said and that have no lane
        SELECT array_agg(c.name) FILTER (WHERE c.kind = 'queue'), COALESCE(bool_or(c.kind <> 'queue' OR (
                SELECT true FROM :schema.lanes l WHERE l.namespace = claim_jobs.namespace AND l.queue = c.name LIMIT 1)), false)
            OR COALESCE((SELECT o.at <= clock_timestamp() FROM :schema.openings o WHERE o.namespace = claim_jobs.namespace ORDER BY o.at LIMIT 1), false)
            OR EXISTS (SELECT FROM :schema.lanes l WHERE l.namespace = claim_jobs.namespace AND l.back)
        INTO apart, closer FROM :schema.controls c WHERE c.namespace = claim_jobs.namespace AND c.kind <> 'key'
          AND (c.kind <> 'queue' OR queues IS NULL OR c.name = ANY (queues));
    END IF;
    IF closer THEN
        SELECT l.wanted, l.apart, l.ends, l.opened, l.taken INTO closer, apart, ends, opened, taken
        FROM :schema.lanes_apart(namespace, tasks, queues, lane_queues, lane_priorities, lane_cursors, lane_uptos, worker, claim,
            CASE WHEN limited THEN 0 ELSE n END, starting, last_queue, bytes) l;
        IF taken IS NOT NULL THEN
            RETURN QUERY
            SELECT j.id, j.task, j.queue, j.priority, j.seq, j.attempt - j.uncounted, j.max_attempts, j.state = 'r', j.suspect, j.run_at,
                NULLIF(j.deadline, 'infinity'), r.input::text, r.meta::text, r.tags, true
            FROM unnest(taken) WITH ORDINALITY j
            LEFT JOIN LATERAL (SELECT r.input, r.meta, r.tags FROM :schema.run_requests r WHERE r.id = j.id OFFSET 0) r ON true ORDER BY j.ordinality;
            starting := GREATEST(0, COALESCE(starting, n) - cardinality(taken));
            n := n - cardinality(taken);
            bytes := bytes - (SELECT sum(j.size) FROM unnest(taken) j);
        END IF;
    END IF;
    IF closer THEN
        RETURN QUERY SELECT g.* FROM :schema.claim_governed(worker, claim, n, starting, tasks, queues, limits, lane_queues, lane_priorities,
            lane_cursors, lane_uptos, last_queue, promote, due_from, namespace, bytes, opened) g;
        IF taken IS NOT NULL THEN
            PERFORM :schema.note_taken(taken);
        END IF;
        RETURN;
    END IF;
    all_start := COALESCE(starting, n) >= n;
    RETURN QUERY
    WITH lane AS MATERIALIZED (
        SELECT l.queue, l.priority, l.returns, l.cursor, l.upto, LEAST(claim_jobs.n, q.most) AS most,
            row_number() OVER (ORDER BY l.priority, l.queue <= last_queue, l.queue) AS ord
        FROM :schema.known_lanes(namespace, lane_queues, lane_priorities, lane_cursors, lane_uptos) l
        LEFT JOIN unnest(queues, limits) AS q (queue, most) ON q.queue = l.queue
        WHERE (queues IS NULL OR q.queue IS NOT NULL) AND (apart IS NULL OR l.queue <> ALL (apart))
    ), picked AS MATERIALIZED (
        SELECT lane.ord, j.ctid, j.id, j.seq, j.size
        FROM (SELECT * FROM lane ORDER BY ord) lane CROSS JOIN LATERAL (
            SELECT j.ctid, j.id, j.seq, j.size FROM :schema.jobs j
            WHERE j.namespace = claim_jobs.namespace AND j.queue = lane.queue AND j.priority = lane.priority
              AND j.seq > lane.cursor AND j.seq <= lane.upto
              AND j.worker = :schema.nobody() AND (claim_jobs.tasks IS NULL OR j.task = ANY (claim_jobs.tasks))
              AND j.deadline > statement_timestamp() AND j.gate IS NULL
            ORDER BY j.seq LIMIT lane.most FOR UPDATE SKIP LOCKED
        ) j LIMIT claim_jobs.n
    ), share AS MATERIALIZED (
        -- The place of the last job that each lane may give: what lanes of the same queue gave before it counts.
        SELECT c.ord, sum(c.picked) OVER (ORDER BY c.ord) - c.picked + LEAST(c.picked, GREATEST(0, lane.most
                - (sum(c.picked) OVER (PARTITION BY lane.queue ORDER BY c.ord) - c.picked))) AS last
        FROM (SELECT picked.ord, count(*) AS picked FROM picked GROUP BY 1) c JOIN lane ON lane.ord = c.ord
    ), fitting AS MATERIALIZED (
        SELECT w.ord, w.ctid, w.id, w.seq, w.place FROM (
            SELECT p.*, row_number() OVER running AS place, sum(p.size) OVER running - p.size AS before FROM picked p
            WINDOW running AS (ORDER BY p.ord, p.seq ROWS UNBOUNDED PRECEDING)
        ) w WHERE w.before < bytes AND (NOT limited OR w.place <= (SELECT s.last FROM share s WHERE s.ord = w.ord))
    ), claimed AS (
        UPDATE :schema.jobs j
        SET worker = claim_jobs.worker, claim = claim_jobs.claim, claimed_at = statement_timestamp(), attempt = j.attempt + 1,
            state = CASE WHEN NOT j.suspect AND (all_start OR j.seq IN (SELECT f.seq FROM fitting f WHERE f.place <= starting))
                THEN 'r' ELSE 'c' END::"char"
        WHERE j.ctid = ANY (ARRAY(SELECT f.ctid FROM fitting f)) AND j.worker = :schema.nobody()
        RETURNING j.id, j.task, j.queue, j.priority, j.seq, j.attempt - j.uncounted AS attempt, j.max_attempts,
            j.state, j.suspect, j.run_at, j.deadline
    ), moved AS (
        -- A row that changed between the look and the lock (somebody began to wait for it) is at another place: by id, then.
        UPDATE :schema.jobs j
        SET worker = claim_jobs.worker, claim = claim_jobs.claim, claimed_at = statement_timestamp(), attempt = j.attempt + 1,
            state = CASE WHEN f.place <= COALESCE(starting, claim_jobs.n) AND NOT j.suspect THEN 'r' ELSE 'c' END::"char"
        FROM fitting f
        WHERE (SELECT count(*) FROM claimed) < (SELECT count(*) FROM fitting) AND f.seq NOT IN (SELECT c.seq FROM claimed c)
          AND j.id = ANY (ARRAY[f.id]) AND j.worker = :schema.nobody()
        RETURNING j.id, j.task, j.queue, j.priority, j.seq, j.attempt - j.uncounted AS attempt, j.max_attempts,
            j.state, j.suspect, j.run_at, j.deadline
    ), taken AS (
        SELECT * FROM claimed UNION ALL SELECT * FROM moved
    ), recorded AS (
        INSERT INTO :schema.claims (worker, claim, claimed_at, first_seq, last_seq, priority, namespace, queue)
        SELECT claim_jobs.worker, claim_jobs.claim, statement_timestamp(), min(c.seq), max(c.seq), c.priority, claim_jobs.namespace, c.queue
        FROM taken c GROUP BY c.queue, c.priority
    ), ended AS (
        SELECT lane.*, CASE
            -- Read to its end: nothing that this lane held in this snapshot is left for the caller.
            WHEN COALESCE(p.picked, 0) < lane.most AND p.picked IS NOT DISTINCT FROM f.fitting
                 AND (lane.ord < (SELECT max(picked.ord) FROM picked) OR (SELECT count(*) FROM picked) < claim_jobs.n)
            THEN CASE WHEN lane.upto < 9223372036854775807 THEN COALESCE((
                    -- A sweep ends before a job that somebody else has locked: it may yet be left behind.
                    SELECT j.seq - 1 FROM :schema.jobs j
                    WHERE j.namespace = claim_jobs.namespace AND j.queue = lane.queue AND j.priority = lane.priority
                      AND j.seq > lane.cursor AND j.seq <= lane.upto AND j.worker = :schema.nobody()
                      AND (claim_jobs.tasks IS NULL OR j.task = ANY (claim_jobs.tasks)) AND j.deadline > statement_timestamp() AND j.gate IS NULL
                      AND j.seq NOT IN (SELECT picked.seq FROM picked)
                    ORDER BY j.seq LIMIT 1), lane.upto)
                ELSE COALESCE((
                    SELECT j.seq FROM :schema.jobs j
                    WHERE j.namespace = claim_jobs.namespace AND j.queue = lane.queue AND j.priority = lane.priority
                      AND j.seq > lane.cursor ORDER BY j.seq DESC LIMIT 1), lane.cursor) END
            -- Filled at the gates: read up to what is ready, so that what has gone is not read again by the next.
            WHEN claim_jobs.n = 0 AND lane.upto = 9223372036854775807
            THEN COALESCE((
                    SELECT j.seq - 1 FROM :schema.jobs j
                    WHERE j.namespace = claim_jobs.namespace AND j.queue = lane.queue AND j.priority = lane.priority
                      AND j.seq > lane.cursor AND j.worker = :schema.nobody() AND (claim_jobs.tasks IS NULL OR j.task = ANY (claim_jobs.tasks))
                      AND j.deadline > statement_timestamp() ORDER BY j.seq LIMIT 1), (
                    SELECT j.seq FROM :schema.jobs j
                    WHERE j.namespace = claim_jobs.namespace AND j.queue = lane.queue AND j.priority = lane.priority
                      AND j.seq > lane.cursor ORDER BY j.seq DESC LIMIT 1), lane.cursor)
            END AS ended
        FROM lane
        LEFT JOIN (SELECT picked.ord, count(*) AS picked FROM picked GROUP BY 1) p ON p.ord = lane.ord
        LEFT JOIN (SELECT fitting.ord, count(*) AS fitting FROM fitting GROUP BY 1) f ON f.ord = lane.ord
    )
    (SELECT c.id, c.task, c.queue, c.priority, c.seq, c.attempt, c.max_attempts, c.state = 'r', c.suspect, c.run_at,
        NULLIF(c.deadline, 'infinity'), r.input::text, r.meta::text, r.tags, false
     FROM taken c
     LEFT JOIN LATERAL (SELECT r.input, r.meta, r.tags FROM :schema.run_requests r WHERE r.id = c.id OFFSET 0) r ON true
     ORDER BY c.priority, c.queue <= last_queue, c.queue, c.seq)
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, json_build_object(
        'xmin', pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 'xid', pg_current_xact_id_if_assigned()::text::bigint,
        'newest', COALESCE(pg_sequence_last_value(:'schema.job_seq'::regclass), 0),
        'governed', governed,
        'due', extract(epoch FROM LEAST((SELECT j.run_at FROM :schema.jobs j
                WHERE j.namespace = claim_jobs.namespace AND j.seq IS NULL AND j.gate IS NULL AND j.run_at >= COALESCE(due_from, '-infinity')
                ORDER BY j.run_at LIMIT 1), (
                SELECT GREATEST(o.at, clock_timestamp() + interval '5 milliseconds') FROM :schema.openings o
                WHERE governed AND o.namespace = claim_jobs.namespace ORDER BY o.at LIMIT 1)) - clock_timestamp()),
        'lanes', (SELECT json_agg(l) FROM (
            SELECT json_build_array(e.queue, e.priority, e.returns, e.ended) AS l FROM ended e UNION ALL SELECT json_array_elements(ends)) l))::text,
        NULL, NULL, NULL;
    IF taken IS NOT NULL THEN
        PERFORM :schema.note_taken(taken);
    END IF;
END $$;
COMMENT ON FUNCTION :schema.claim_jobs(uuid, bigint, integer, integer, text[], text[], integer[], text[], smallint[], bigint[], bigint[], text, boolean, timestamptz, text, bigint) IS
    'Claim ready jobs for a worker; the last row has no id and says in input where reading ended.';
