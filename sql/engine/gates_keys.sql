-- Gates of concurrency keys of which nothing is said, as of most: what open_gates does for any scope (gates.sql), with fewer looks at each.
-- On plans: two arrays are not joined, which would compare each with each, but added up by their place.

-- Let jobs of keys through, whose rows in slots the caller has locked; used: the slots taken, openings not counted. Answers how many came
-- out. As many as n of them are claimed at once for this worker, as claim_jobs would (its parameters), if there is nothing else to look
-- at: nothing is said of their queue, task or group, and nothing that is ready goes before them (first_priority: of what is ready; first_queue:
-- its queue, if it is one; what came back into that lane has its turn first). The others stand in their lanes then.
CREATE OR REPLACE FUNCTION :schema.open_keys(
    namespace text, scopes text[], used integer[], most integer, worker uuid, claim bigint, n integer, starting integer, tasks text[],
    queues text[], last_queue text, bytes bigint, first_priority smallint, first_queue text, OUT opened integer, OUT taken :schema.jobs[]
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    said boolean := EXISTS (SELECT FROM :schema.controls c WHERE c.namespace = open_keys.namespace AND c.kind <> 'key');
    was  record;
    held integer[];
    did  record;
    turned record;
BEGIN
    -- What came back into the lane from which jobs may go straight.
    SELECT count(*) AS n, COALESCE(sum(b.size), 0) AS bytes INTO turned FROM (
        SELECT j.size FROM :schema.jobs j
        WHERE j.namespace = open_keys.namespace AND j.gate = 'back ' || first_queue AND j.priority = first_priority
          AND j.worker = :schema.nobody() AND (open_keys.tasks IS NULL OR j.task = ANY (open_keys.tasks))
        ORDER BY j.place LIMIT open_keys.n) b;
    WITH met AS MATERIALIZED (
        SELECT o.ctid, o.at <= clock_timestamp() AS due, o.at <= clock_timestamp() + interval '1 minute' AS soon, o.freed, l.i FROM unnest(scopes) WITH ORDINALITY AS l (scope, i) CROSS JOIN LATERAL (
            SELECT k.ctid, k.at, k.freed FROM :schema.openings k WHERE k.namespace = open_keys.namespace AND k.scope = l.scope OFFSET 0) o
    ), gone AS (
        DELETE FROM :schema.openings o WHERE o.ctid = ANY (ARRAY(SELECT m.ctid FROM met m WHERE m.due))
    )
    -- What there is of each scope: its slots taken, and whether an opening is to come.
    SELECT array_agg(GREATEST(0, u.used) ORDER BY u.i) AS held, array_agg(u.later ORDER BY u.i) AS later INTO was FROM (
        SELECT a.i, sum(a.used)::integer AS used, bool_or(a.later) AS later FROM (
            SELECT l.i, l.used, false AS later FROM unnest(open_keys.used) WITH ORDINALITY AS l (used, i)
            UNION ALL SELECT m.i, CASE WHEN m.due THEN -m.freed ELSE 0 END, NOT m.due AND m.soon FROM met m) a GROUP BY 1) u;
    WITH first AS MATERIALIZED (
        SELECT k.i, k.scope, k.later, f.* FROM unnest(scopes, was.held, was.later) WITH ORDINALITY AS k (scope, used, later, i)
        CROSS JOIN LATERAL (
            SELECT GREATEST(0, COALESCE(j.key_limit, 1) - k.used) AS room, COALESCE(j.key_limit, 1) = 1 AS serial, j.ctid FROM :schema.jobs j
            WHERE j.namespace = open_keys.namespace AND j.gate = k.scope ORDER BY j.priority, j.place LIMIT 1) f
    ), out AS MATERIALIZED (
        -- The head of a serial key keeps its turn while somebody has it locked; of others, those behind go on.
        SELECT j.*, first.i, said AND (SELECT true FROM :schema.controls c WHERE c.namespace = open_keys.namespace AND c.kind = 'queue'
                AND c.name = j.queue AND c.queue = '' LIMIT 1) IS NOT NULL AS governed
        FROM (SELECT * FROM first ORDER BY first.i) first
        CROSS JOIN LATERAL (
            SELECT j.ctid, j.id, j.queue, j.priority, j.place, j.task, j.group_key, j.size, j.deadline FROM (
                SELECT first.ctid WHERE first.room > 0 AND first.serial UNION ALL (
                SELECT j.ctid FROM :schema.jobs j WHERE j.namespace = open_keys.namespace AND j.gate = first.scope
                ORDER BY j.priority, j.place LIMIT CASE WHEN first.room = 0 OR first.serial THEN 0 ELSE LEAST(first.room, most) + 20 END)
            ) n JOIN :schema.jobs j ON j.ctid = n.ctid WHERE j.gate = first.scope
            LIMIT LEAST(first.room, most) FOR UPDATE OF j SKIP LOCKED
        ) j LIMIT most
    ), decided AS (
        SELECT o.*, CASE WHEN o.governed THEN o.place > 0 AND (
                -- In a fair queue one that has had no turn yet arrives now, as any other of its group.
                SELECT true FROM :schema.controls c WHERE c.namespace = open_keys.namespace AND c.kind = 'queue' AND c.name = o.queue
                  AND c.queue = '' AND c.fairness <> 'strict' LIMIT 1) IS NOT NULL ELSE false END AS arrives,
            open_keys.n > 0 AND o.deadline > statement_timestamp()
            AND (open_keys.tasks IS NULL OR o.task = ANY (open_keys.tasks)) AND (open_keys.queues IS NULL OR o.queue = ANY (open_keys.queues)) AS due,
            NOT o.governed AND (NOT said OR (SELECT true FROM :schema.controls c WHERE c.namespace = open_keys.namespace AND c.kind IN ('task', 'group')
                                AND c.name = CASE c.kind WHEN 'task' THEN o.task ELSE o.group_key END LIMIT 1) IS NULL) AS free FROM out o
    ), ranked AS (
        SELECT d.*, COALESCE(d.due AND d.free AND (first_priority IS NULL OR d.priority < first_priority OR d.priority = first_priority AND d.queue = first_queue)
            -- Nor does what is let out here to be looked at more closely.
            AND d.priority < min(CASE WHEN d.due AND NOT d.free THEN d.priority ELSE 32767 END) OVER (), false) AS straight FROM decided d
    ), placed AS (
        SELECT d.ctid, d.i, d.arrives, d.straight, CASE WHEN d.straight THEN row_number() OVER line END AS nth,
            CASE WHEN d.straight THEN sum(d.size) OVER line - d.size END AS before, CASE WHEN d.priority = first_priority THEN turned.n ELSE 0 END AS others,
            CASE WHEN d.priority = first_priority THEN turned.bytes ELSE 0 END AS others_bytes FROM ranked d
        WINDOW line AS (PARTITION BY d.straight ORDER BY d.priority, d.queue <= last_queue, d.queue, d.place ROWS UNBOUNDED PRECEDING)
    ), chosen AS MATERIALIZED (
        SELECT p.*, COALESCE(p.nth + p.others <= open_keys.n AND p.before + p.others_bytes < open_keys.bytes, false) AS mine FROM placed p
    ), back AS (
        UPDATE :schema.jobs j SET seq = CASE WHEN c.arrives THEN nextval(:'schema.job_seq'::regclass) ELSE j.place END,
            gate = CASE WHEN NOT (c.arrives OR c.mine) THEN 'back ' || j.queue END, place = CASE WHEN NOT (c.arrives OR c.mine) THEN j.place END,
            state = CASE WHEN NOT c.mine THEN 'q' WHEN j.suspect OR c.nth > open_keys.starting THEN 'c' ELSE 'r' END::"char", slots = j.slots | 4,
            worker = CASE WHEN c.mine THEN open_keys.worker ELSE j.worker END, claim = CASE WHEN c.mine THEN open_keys.claim ELSE j.claim END,
            claimed_at = CASE WHEN c.mine THEN statement_timestamp() ELSE j.claimed_at END, attempt = j.attempt + CASE WHEN c.mine THEN 1 ELSE 0 END
        FROM chosen c WHERE j.ctid = c.ctid RETURNING j AS job, j.queue, j.priority, c.i, c.nth, c.mine
    )
    SELECT count(*) AS opened, array_agg(b.queue) AS queues, array_agg(b.priority) AS priorities, array_agg(b.i) AS outs, array_agg(b.job ORDER BY b.nth) FILTER (WHERE b.mine) AS taken,
        (SELECT array_agg(w.i) FROM (  -- where somebody may wait for an opening that is not to come yet
            SELECT a.i FROM (SELECT f.i, f.room, f.later FROM first f UNION ALL SELECT b.i, -1, false FROM back b) a
            GROUP BY 1 HAVING NOT bool_or(a.later) OR sum(a.room) > 0) w) AS waits INTO did FROM back b;
    opened := did.opened;
    taken := did.taken;
    held := ARRAY(SELECT sum(a.n)::integer FROM (
        SELECT u.i, u.n FROM unnest(was.held) WITH ORDINALITY AS u (n, i) UNION ALL SELECT o.i, 1 FROM unnest(did.outs) AS o (i)) a GROUP BY a.i ORDER BY a.i);
    UPDATE :schema.slots s SET used = u.now FROM unnest(scopes, open_keys.used, held) AS u (scope, before, now) CROSS JOIN LATERAL (
        SELECT k.ctid FROM :schema.slots k WHERE k.namespace = open_keys.namespace AND k.scope = u.scope OFFSET 0) k
    WHERE u.now <> u.before AND s.ctid = k.ctid;
    IF did.queues IS NOT NULL THEN  -- what is claimed may come back, too
        PERFORM :schema.note_returning(namespace, did.queues, did.priorities);
    END IF;
    -- Where somebody still waits there is an opening to come, as look_again has it; at once also if the next was changed between the look
    -- and the lock (somebody began to wait for it), and so is not locked now.
    INSERT INTO :schema.openings (namespace, scope, at)
    SELECT open_keys.namespace, w.scope, w.at FROM (
        SELECT u.scope, clock_timestamp() + CASE WHEN first.key_limit <= u.used THEN '1 minute'
            WHEN open_keys.opened < most AND (SELECT true FROM :schema.jobs j WHERE j.id = first.id FOR UPDATE SKIP LOCKED) IS NULL
            THEN '100 milliseconds' ELSE '0' END::interval AS at
        FROM unnest(did.waits) AS c (i) CROSS JOIN LATERAL (SELECT scopes[c.i] AS scope, held[c.i] AS used) u CROSS JOIN LATERAL (
            SELECT j.id, COALESCE(j.key_limit, 1) AS key_limit FROM :schema.jobs j WHERE j.namespace = open_keys.namespace AND j.gate = u.scope
            ORDER BY j.priority, j.place LIMIT 1) first
        WHERE NOT (first.key_limit <= u.used AND was.later[c.i])) w;
    PERFORM :schema.forget_keys(namespace, ARRAY(SELECT u.scope FROM unnest(scopes, held) AS u (scope, used) WHERE u.used = 0));
END $$;

-- The rows of keys that nobody has used for a while go. The caller has locked them.
CREATE OR REPLACE FUNCTION :schema.forget_keys(namespace text, scopes text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF cardinality(scopes) = 0 THEN
        RETURN;
    END IF;
    DELETE FROM :schema.slots d WHERE d.ctid = ANY (ARRAY(
        SELECT k.ctid FROM unnest(scopes) AS u (scope) CROSS JOIN LATERAL (
            SELECT k.* , k.ctid FROM :schema.slots k WHERE k.namespace = forget_keys.namespace AND k.scope = u.scope OFFSET 0) k
        WHERE k.used = 0 AND k.next_at <= clock_timestamp() AND u.scope LIKE 'key %'
          AND (SELECT true FROM :schema.openings o WHERE o.namespace = k.namespace AND o.scope = k.scope LIMIT 1) IS NULL
          AND (SELECT true FROM :schema.jobs j WHERE j.namespace = k.namespace AND j.gate = k.scope LIMIT 1) IS NULL));
END $$;

-- Jobs that were claimed at their gates (open_keys): where in which lane they are is added to what the claim has noted.
CREATE OR REPLACE FUNCTION :schema.note_taken(taken :schema.jobs[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO :schema.claims AS c (worker, claim, claimed_at, first_seq, last_seq, priority, namespace, queue)
    SELECT j.worker, j.claim, statement_timestamp(), min(j.seq), max(j.seq), j.priority, j.namespace, j.queue
    FROM unnest(taken) j GROUP BY 1, 2, 6, 7, 8
    ON CONFLICT (worker, claim, queue, priority) DO UPDATE
        SET first_seq = LEAST(c.first_seq, EXCLUDED.first_seq), last_seq = GREATEST(c.last_seq, EXCLUDED.last_seq);
END $$;
