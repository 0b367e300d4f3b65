-- Gates of concurrency keys of which nothing is said, as of most: what open_gates does for any scope (gates.sql), with fewer looks at each.
-- On plans: two arrays are not joined, which would compare each with each, but added up by their place.

-- Let jobs of keys through, whose rows in slots the caller has locked; used: the slots taken, openings not counted. Answers how many came out.
CREATE OR REPLACE FUNCTION :schema.open_keys(namespace text, scopes text[], used integer[], most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    held   integer[];
    queues text[]; priorities smallint[]; outs bigint[];
BEGIN
    WITH taken AS (
        DELETE FROM :schema.openings o WHERE o.ctid = ANY (ARRAY(
            SELECT k.ctid FROM unnest(scopes) AS l (scope) CROSS JOIN LATERAL (
                SELECT k.ctid FROM :schema.openings k
                WHERE k.namespace = open_keys.namespace AND k.scope = l.scope AND k.at <= clock_timestamp() OFFSET 0) k))
        RETURNING o.scope, o.freed
    )
    SELECT array_agg(GREATEST(0, u.used) ORDER BY u.i) INTO held FROM (
        SELECT min(a.i) AS i, sum(a.used)::integer AS used FROM (
            SELECT l.scope, l.used, l.i FROM unnest(scopes, open_keys.used) WITH ORDINALITY AS l (scope, used, i)
            UNION ALL SELECT t.scope, -t.freed, NULL FROM taken t) a GROUP BY a.scope) u;
    WITH out AS MATERIALIZED (
        -- The head of a serial key keeps its turn while somebody has it locked; of others, those behind go on.
        SELECT j.id, k.i, j.place > 0 AND (
            SELECT true FROM :schema.controls c WHERE c.namespace = open_keys.namespace AND c.kind = 'queue' AND c.name = j.queue
              AND c.queue = '' AND c.fairness <> 'strict' LIMIT 1) IS NOT NULL AS arrives
        FROM unnest(scopes, held) WITH ORDINALITY AS k (scope, used, i)
        CROSS JOIN LATERAL (
            SELECT COALESCE(j.key_limit, 1) - k.used AS room, COALESCE(j.key_limit, 1) = 1 AS serial FROM :schema.jobs j
            WHERE j.namespace = open_keys.namespace AND j.gate = k.scope ORDER BY j.priority, j.place LIMIT 1) first
        CROSS JOIN LATERAL (
            SELECT j.id, j.queue, j.place FROM (
                SELECT j.id FROM :schema.jobs j WHERE j.namespace = open_keys.namespace AND j.gate = k.scope
                ORDER BY j.priority, j.place LIMIT CASE WHEN first.room <= 0 THEN 0 WHEN first.serial THEN 1 ELSE LEAST(first.room, most) + 20 END
            ) n JOIN :schema.jobs j ON j.id = ANY (ARRAY[n.id]) WHERE j.gate = k.scope
            LIMIT GREATEST(0, LEAST(first.room, most)) FOR UPDATE OF j SKIP LOCKED
        ) j LIMIT most
    ), back AS (
        -- In a fair queue one that has had no turn yet arrives now, as any other of its group.
        UPDATE :schema.jobs j SET seq = CASE WHEN o.arrives THEN nextval(:'schema.job_seq'::regclass) ELSE j.place END,
            gate = CASE WHEN NOT o.arrives THEN 'back ' || j.queue END, place = CASE WHEN NOT o.arrives THEN j.place END, state = 'q', slots = j.slots | 4
        FROM out o WHERE j.id = ANY (ARRAY[o.id]) RETURNING j.queue, j.priority, o.i
    )
    SELECT array_agg(b.queue), array_agg(b.priority), array_agg(b.i) INTO queues, priorities, outs FROM back b;
    held := ARRAY(SELECT sum(a.n)::integer FROM (
        SELECT u.i, u.n FROM unnest(held) WITH ORDINALITY AS u (n, i) UNION ALL SELECT o.i, 1 FROM unnest(outs) AS o (i)) a GROUP BY a.i ORDER BY a.i);
    UPDATE :schema.slots s SET used = u.now FROM unnest(scopes, open_keys.used, held) AS u (scope, before, now) CROSS JOIN LATERAL (
        SELECT k.ctid FROM :schema.slots k WHERE k.namespace = open_keys.namespace AND k.scope = u.scope OFFSET 0) k
    WHERE u.now <> u.before AND s.ctid = k.ctid;
    IF queues IS NOT NULL THEN
        PERFORM :schema.note_returning(namespace, queues, priorities);
    END IF;
    -- Where somebody still waits there is an opening to come, as look_again has it.
    INSERT INTO :schema.openings (namespace, scope, at)
    SELECT open_keys.namespace, w.scope, w.at FROM (
        SELECT u.scope, clock_timestamp() + CASE WHEN first.key_limit <= u.used THEN '1 minute'
            WHEN COALESCE(cardinality(queues), 0) < most THEN '100 milliseconds' ELSE '0' END::interval AS at
        FROM unnest(scopes, held) AS u (scope, used) CROSS JOIN LATERAL (
            SELECT COALESCE(j.key_limit, 1) AS key_limit FROM :schema.jobs j WHERE j.namespace = open_keys.namespace AND j.gate = u.scope
            ORDER BY j.priority, j.place LIMIT 1) first) w
    WHERE (SELECT true FROM :schema.openings o WHERE o.namespace = open_keys.namespace AND o.scope = w.scope
           AND o.at <= GREATEST(w.at, clock_timestamp()) LIMIT 1) IS NULL;
    PERFORM :schema.forget_keys(namespace, ARRAY(SELECT u.scope FROM unnest(scopes, held) AS u (scope, used) WHERE u.used = 0));
    RETURN COALESCE(cardinality(queues), 0);
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
