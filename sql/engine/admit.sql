-- Control at the claim: of the jobs that it has met and locked, which may begin; the others are set aside (gates.sql).

-- Which pauses, limits and rates a job has to pass at a claim, besides those of its queue: the first that is not open is its gate.
CREATE OR REPLACE FUNCTION :schema.gates_of(namespace text, queue text, task text, group_key text)
RETURNS TABLE (counted smallint, scope text) LANGUAGE sql STABLE AS $$
    SELECT 0::smallint, :schema.scope_of('group', $4, $2) WHERE (
        SELECT true FROM :schema.controls c WHERE c.namespace = $1 AND c.kind = 'group' AND c.name = $4 AND c.queue = $2
          AND c.paused_until > statement_timestamp() LIMIT 1)
    UNION ALL SELECT 2::smallint, 'task ' || $3 WHERE (
        SELECT true FROM :schema.controls c WHERE c.namespace = $1 AND c.kind = 'task' AND c.name = $3 LIMIT 1)
$$;

-- Decide about jobs that the caller has locked and that nobody holds, in the order given. One number each: which limits count it now
-- (2: its task's), or -1: it was set aside; or -2: it was left in its place, as another claim has locked its scope.
CREATE OR REPLACE FUNCTION :schema.admit(namespace text, ids uuid[]) RETURNS smallint[]
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    known text[] := ARRAY(SELECT DISTINCT g.scope FROM unnest(ids) AS u (id) JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id])
                          CROSS JOIN LATERAL :schema.gates_of(admit.namespace, j.queue, j.task, j.group_key) g);
    did   record;
BEGIN
    WITH room AS MATERIALIZED (
        SELECT s.*, first.priority AS first_priority, first.place AS first_place
        FROM :schema.scope_rooms(namespace, known) s
        -- Who waits at the gate goes before who comes; not of the same place, which turns of two queues can have.
        LEFT JOIN LATERAL (SELECT j.priority, j.place FROM :schema.jobs j WHERE j.namespace = admit.namespace AND j.gate = s.scope
                           ORDER BY j.priority, j.place LIMIT 1) first ON true
    ), met AS MATERIALIZED (
        SELECT u.i, j.id, g.counted, g.scope, room.scope IS NOT NULL AS locked, room.room, room.most,
            COALESCE(room.room > 0 AND (room.first_place IS NULL OR (j.priority, j.seq) <= (room.first_priority, room.first_place)), false) AS may
        FROM unnest(ids) WITH ORDINALITY AS u (id, i) JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id])
        CROSS JOIN LATERAL :schema.gates_of(admit.namespace, j.queue, j.task, j.group_key) g
        LEFT JOIN room ON room.scope = g.scope
    ), turn AS (
        SELECT m.*, m.may AND row_number() OVER (PARTITION BY m.scope, m.may ORDER BY m.i) <= m.room AS fits FROM met m
    ), verdict AS (
        SELECT t.i, t.id, bool_and(t.fits) AS passes, bool_or(NOT t.fits AND NOT t.locked) AS busy,
            (array_agg(t.scope ORDER BY t.counted) FILTER (WHERE NOT t.fits AND t.locked))[1] AS gate,
            COALESCE(sum(t.counted) FILTER (WHERE t.most IS NOT NULL), 0) AS slots FROM turn t GROUP BY 1, 2
    ), aside AS (
        UPDATE :schema.jobs j SET state = 'b', gate = v.gate, place = j.seq, seq = NULL
        FROM verdict v WHERE j.id = ANY (ARRAY[v.id]) AND NOT v.passes AND NOT v.busy
    ), passed AS (
        SELECT t.scope, count(*)::integer AS gone, bool_or(t.most IS NOT NULL) AS counted FROM turn t JOIN verdict v ON v.i = t.i WHERE v.passes GROUP BY 1
    )
    SELECT (SELECT array_agg(CASE WHEN v.passes IS NULL THEN 0 WHEN v.passes THEN v.slots WHEN v.busy THEN -2 ELSE -1 END::smallint ORDER BY u.i)
            FROM unnest(ids) WITH ORDINALITY AS u (id, i) LEFT JOIN verdict v ON v.i = u.i) AS slots,
        (SELECT array_agg(p.scope ORDER BY p.scope) FROM passed p) AS scopes, (SELECT array_agg(p.gone ORDER BY p.scope) FROM passed p) AS gone,
        (SELECT array_agg(p.counted ORDER BY p.scope) FROM passed p) AS counted, (SELECT array_agg(m.scope ORDER BY m.scope) FROM room m) AS locked,
        (SELECT array_agg(m.room - COALESCE((SELECT p.gone FROM passed p WHERE p.scope = m.scope), 0) ORDER BY m.scope) FROM room m) AS rooms INTO did;
    IF did.scopes IS NOT NULL THEN
        PERFORM :schema.pass_scopes(namespace, did.scopes, did.gone, did.counted);
    END IF;
    PERFORM :schema.look_again(namespace, did.locked, did.rooms);
    RETURN did.slots;
END $$;

-- Set aside what stands behind jobs that were just set aside, in the same lane and for the same scope: so that a claim does not meet a
-- long row of them one batch at a time. Reads a bounded number of entries. Answers how many.
CREATE OR REPLACE FUNCTION :schema.set_aside_more(
    namespace text, queue text, priority smallint, behind bigint, upto bigint, gates text[], entries integer DEFAULT 5000
) RETURNS integer LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moved integer;
BEGIN
    WITH next AS MATERIALIZED (
        SELECT j.id, CASE WHEN 'task ' || j.task = ANY (gates) THEN 'task ' || j.task
            WHEN :schema.scope_of('group', j.group_key, j.queue) = ANY (gates) THEN :schema.scope_of('group', j.group_key, j.queue) END AS gate
        FROM (SELECT j.* FROM :schema.jobs j
              WHERE j.namespace = $1 AND j.queue = $2 AND j.priority = $3 AND j.seq > $4 AND j.seq <= $5 AND j.worker = :schema.nobody()
              ORDER BY j.seq LIMIT entries) j
    ), locked AS MATERIALIZED (
        SELECT n.id, n.gate FROM (SELECT * FROM next WHERE next.gate IS NOT NULL) n JOIN :schema.jobs j ON j.id = ANY (ARRAY[n.id])
        WHERE j.worker = :schema.nobody() AND j.seq IS NOT NULL FOR UPDATE OF j SKIP LOCKED
    ), aside AS (
        UPDATE :schema.jobs j SET state = 'b', gate = l.gate, place = j.seq, seq = NULL
        FROM locked l WHERE j.id = ANY (ARRAY[l.id]) RETURNING 1
    ) SELECT count(*) INTO moved FROM aside;
    RETURN moved;
END $$;
