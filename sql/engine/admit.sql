-- Control at the claim: of the jobs that it has met and locked, which may begin; the others are set aside (gates.sql).

-- Which limits, rates and pauses a job has to pass, besides those of its queue, in the order in which it waits for them.
CREATE OR REPLACE FUNCTION :schema.gates_of(namespace text, queue text, task text, concurrency_key text, group_key text, slots smallint)
RETURNS TABLE (counted smallint, scope text) LANGUAGE sql STABLE AS $$
    SELECT 0::smallint, :schema.scope_of('group', $5, $2) WHERE EXISTS (
        SELECT FROM :schema.controls c WHERE c.namespace = $1 AND c.kind = 'group' AND c.name = $5 AND c.queue = $2
          AND c.paused_until > statement_timestamp())
    UNION ALL SELECT 2::smallint, 'task ' || $3 WHERE EXISTS (
        SELECT FROM :schema.controls c WHERE c.namespace = $1 AND c.kind = 'task' AND c.name = $3)
    UNION ALL SELECT 4::smallint, 'key ' || $4 WHERE $4 IS NOT NULL AND $6 & 4 = 0
$$;

-- Decide about jobs that the caller has locked and that nobody holds, in the order given. One number each: which limits count it now
-- (2 task, 4 key), or -1: it was set aside; or -2: it was left in its place, as another claim has locked its scope.
CREATE OR REPLACE FUNCTION :schema.admit(namespace text, ids uuid[]) RETURNS smallint[]
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    r record; verdicts record; refused text[];
BEGIN
    SELECT array_agg(w.scope) AS scopes, array_agg(w.most) AS limits INTO r FROM (
        SELECT g.scope, max(CASE WHEN g.counted = 4 THEN COALESCE(j.key_limit, 1)::integer END) AS most
        FROM unnest(ids) AS u (id) JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id])
        CROSS JOIN LATERAL :schema.gates_of(admit.namespace, j.queue, j.task, j.concurrency_key, j.group_key, j.slots) g GROUP BY 1) w;
    WITH room AS MATERIALIZED (
        SELECT s.*, first.priority AS first_priority, first.place AS first_place
        FROM :schema.scope_rooms(namespace, r.scopes, r.limits) s
        -- Who waits at the gate goes before who comes.
        LEFT JOIN LATERAL (SELECT j.priority, j.place FROM :schema.jobs j WHERE j.namespace = admit.namespace AND j.gate = s.scope
                           ORDER BY j.priority, j.place LIMIT 1) first ON true
    ), met AS MATERIALIZED (
        SELECT u.i, j.id, j.priority, j.seq, j.concurrency_key, j.slots, g.counted, g.scope, room.scope IS NOT NULL AS locked, room.room, room.most,
            room.scope IS NOT NULL AND room.room > 0 AND (room.first_place IS NULL OR (j.priority, j.seq) < (room.first_priority, room.first_place))
            -- Of a serial key only the first of all may begin, wherever it stands.
            AND (g.counted <> 4 OR room.most <> 1 OR j.id = (
                SELECT h.id FROM :schema.jobs h WHERE h.namespace = admit.namespace AND h.concurrency_key = j.concurrency_key
                  AND COALESCE(h.seq, h.place) IS NOT NULL AND h.worker = :schema.nobody()
                ORDER BY h.priority, COALESCE(h.seq, h.place) LIMIT 1)) AS may
        FROM unnest(ids) WITH ORDINALITY AS u (id, i) JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id])
        CROSS JOIN LATERAL :schema.gates_of(admit.namespace, j.queue, j.task, j.concurrency_key, j.group_key, j.slots) g
        LEFT JOIN room ON room.scope = g.scope
    ), turn AS (
        SELECT m.*, m.may AND row_number() OVER (PARTITION BY m.scope, m.may ORDER BY m.i) <= m.room AS fits FROM met m
    ), verdict AS (
        SELECT t.i, t.id, bool_and(t.fits) AS passes, bool_or(NOT t.fits AND NOT t.locked) AS busy,
            (array_agg(t.scope ORDER BY t.counted) FILTER (WHERE NOT t.fits AND t.locked))[1] AS gate,
            sum(t.counted) FILTER (WHERE t.counted = 4 OR t.most IS NOT NULL) AS bits FROM turn t GROUP BY 1, 2
    ), aside AS (
        UPDATE :schema.jobs j SET state = 'b', gate = v.gate, place = j.seq, seq = NULL, returned = false
        FROM verdict v WHERE j.id = ANY (ARRAY[v.id]) AND NOT v.passes AND v.gate IS NOT NULL AND NOT v.busy RETURNING j.gate
    ), passed AS (
        SELECT t.scope, count(*)::integer AS gone FROM turn t JOIN verdict v ON v.i = t.i WHERE v.passes GROUP BY 1
    )
    SELECT (SELECT array_agg(CASE WHEN v.passes IS NULL THEN 0 WHEN v.passes THEN COALESCE(v.bits, 0) WHEN v.busy OR v.gate IS NULL THEN -2 ELSE -1 END::smallint ORDER BY u.i)
            FROM unnest(ids) WITH ORDINALITY AS u (id, i) LEFT JOIN verdict v ON v.i = u.i) AS slots,
        (SELECT array_agg(p.scope ORDER BY p.scope) FROM passed p) AS scopes, (SELECT array_agg(p.gone ORDER BY p.scope) FROM passed p) AS gone,
        (SELECT array_agg(DISTINCT a.gate) FROM aside a) AS gates INTO verdicts;
    IF verdicts.scopes IS NOT NULL THEN
        PERFORM :schema.pass_scopes(namespace, verdicts.scopes, verdicts.gone);
    END IF;
    IF r.scopes IS NOT NULL THEN
        -- Whoever waits at a gate that has room after all (the openings that said so were added up above) is let out by the next claim.
        INSERT INTO :schema.openings (namespace, scope, at)
        SELECT admit.namespace, s.scope, CASE WHEN s.paused IS NOT NULL THEN s.paused WHEN s.room > 0 THEN clock_timestamp()
            WHEN s.rate_at > clock_timestamp() THEN s.rate_at ELSE clock_timestamp() + interval '1 minute' END
        FROM :schema.scope_rooms(namespace, r.scopes, r.limits, false) s
        WHERE s.paused IS DISTINCT FROM 'infinity'
          AND EXISTS (SELECT FROM :schema.jobs j WHERE j.namespace = admit.namespace AND j.gate = s.scope)
          AND NOT EXISTS (SELECT FROM :schema.openings o WHERE o.namespace = admit.namespace AND o.scope = s.scope
                          AND o.at <= CASE WHEN s.paused IS NOT NULL THEN s.paused WHEN s.room > 0 THEN clock_timestamp()
                              ELSE COALESCE(GREATEST(s.rate_at, clock_timestamp()), clock_timestamp() + interval '1 minute') END);
    END IF;
    RETURN verdicts.slots;
END $$;

-- Set aside what stands behind jobs that were just set aside, in the same lane and for the same scope: so that a claim does not meet a
-- long row of them one batch at a time. Reads a bounded number of entries. Answers how many.
CREATE OR REPLACE FUNCTION :schema.set_aside_more(
    namespace text, queue text, priority smallint, behind bigint, upto bigint, gates text[], entries integer DEFAULT 5000
) RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    moved integer;
BEGIN
    WITH next AS MATERIALIZED (
        SELECT j.id, CASE WHEN 'task ' || j.task = ANY (gates) THEN 'task ' || j.task
            WHEN j.slots & 4 = 0 AND 'key ' || j.concurrency_key = ANY (gates) THEN 'key ' || j.concurrency_key
            WHEN :schema.scope_of('group', j.group_key, j.queue) = ANY (gates) THEN :schema.scope_of('group', j.group_key, j.queue) END AS gate
        FROM (SELECT j.* FROM :schema.jobs j
              WHERE j.namespace = $1 AND j.queue = $2 AND j.priority = $3 AND j.seq > $4 AND j.seq <= $5 AND j.worker = :schema.nobody()
              ORDER BY j.seq LIMIT entries) j
    ), locked AS MATERIALIZED (
        SELECT n.id, n.gate FROM (SELECT * FROM next WHERE next.gate IS NOT NULL) n JOIN :schema.jobs j ON j.id = ANY (ARRAY[n.id])
        WHERE j.worker = :schema.nobody() AND j.seq IS NOT NULL FOR UPDATE OF j SKIP LOCKED
    ), aside AS (
        UPDATE :schema.jobs j SET state = 'b', gate = l.gate, place = j.seq, seq = NULL, returned = false
        FROM locked l WHERE j.id = ANY (ARRAY[l.id]) RETURNING 1
    ) SELECT count(*) INTO moved FROM aside;
    RETURN moved;
END $$;
