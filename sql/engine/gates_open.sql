-- Gates open: what a claim does first, where openings are due (gates.sql).

-- Take in the openings that are due: let jobs out of the gates, as many as there is room for, in the order they had. Answers how many. Who
-- calls it claims some of them, and wakes others for the rest; those of keys may be claimed at once (open_keys): taken.
CREATE OR REPLACE FUNCTION :schema.open_gates(
    namespace text, most integer DEFAULT 1000, worker uuid DEFAULT NULL, claim bigint DEFAULT NULL, n integer DEFAULT 0,
    starting integer DEFAULT NULL, tasks text[] DEFAULT NULL, in_queues text[] DEFAULT NULL, last_queue text DEFAULT '', bytes bigint DEFAULT 0,
    first_priority smallint DEFAULT NULL, first_queue text DEFAULT NULL, OUT opened integer, OUT taken :schema.jobs[]
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();  -- as it stands in a query, no index can be asked for it
    found  record; s record;
    queues text[]; priorities smallint[]; outs text[]; first_out smallint;
    -- What is let out and not claimed at once is changed twice; where queues, tasks or groups have a say, they choose among more.
    few    integer := CASE WHEN EXISTS (SELECT FROM :schema.controls c WHERE c.namespace = open_gates.namespace AND c.kind <> 'key') THEN 200 ELSE 100 END;
BEGIN
    opened := 0;
    -- Without those that somebody has locked, or is about to make: a claim that stays open holds up no scopes but its own.
    SELECT array_agg(d.scope ORDER BY d.first) FILTER (WHERE d.plain AND d.used IS NOT NULL) AS keys,
        array_agg(d.used ORDER BY d.first) FILTER (WHERE d.plain AND d.used IS NOT NULL) AS used,
        array_agg(d.scope ORDER BY d.first) FILTER (WHERE d.plain AND d.used IS NULL) AS new,
        array_agg(d.scope ORDER BY d.first) FILTER (WHERE NOT d.plain) AS others INTO found FROM (
        SELECT o.scope, o.first, s.used, o.scope LIKE 'key %' AND (
            SELECT true FROM :schema.controls c WHERE c.namespace = open_gates.namespace AND c.kind = 'key' AND c.name = substr(o.scope, 5)
              AND c.queue = '' LIMIT 1) IS NULL AS plain
        FROM (
            SELECT o.scope, min(o.at) AS first FROM (
                SELECT o.scope, o.at FROM :schema.openings o
                WHERE o.namespace = open_gates.namespace AND o.at <= moment ORDER BY o.at LIMIT 5000) o GROUP BY 1 ORDER BY 2) o
        LEFT JOIN LATERAL (SELECT s.used FROM :schema.slots s WHERE s.namespace = open_gates.namespace AND s.scope = o.scope
                           FOR UPDATE SKIP LOCKED) s ON true
        WHERE s.used IS NOT NULL OR ((SELECT true FROM :schema.slots s WHERE s.namespace = open_gates.namespace AND s.scope = o.scope LIMIT 1) IS NULL
            AND pg_try_advisory_xact_lock(:schema.slots_key(open_gates.namespace, o.scope))) LIMIT LEAST(1000, GREATEST(few, open_gates.n))) d;
    IF found.new IS NOT NULL THEN  -- a row that somebody has made meanwhile waits for the next claim
        WITH made AS (
            INSERT INTO :schema.slots (namespace, scope) SELECT open_gates.namespace, n FROM unnest(found.new) n ON CONFLICT DO NOTHING RETURNING scope
        ) SELECT found.keys || array_agg(m.scope) AS keys, found.used || array_agg(0) AS used, NULL AS new, found.others AS others INTO found FROM made m;
    END IF;
    IF found.others IS NOT NULL THEN  -- before the keys: some of these may go before what is claimed there
        SELECT array_agg(r.scope) AS scopes, array_agg(r.room) AS rooms, array_agg(COALESCE(r.most = 1, false) AND r.scope LIKE 'key %') AS serial
        INTO s FROM :schema.scope_rooms(namespace, found.others, false) r;
        WITH out AS MATERIALIZED (
            -- The head of a serial key keeps its turn while somebody has it locked; of others, those behind go on.
            SELECT j.id, o.scope, j.place > 0 AND (
                SELECT true FROM :schema.controls c WHERE c.namespace = open_gates.namespace AND c.kind = 'queue' AND c.name = j.queue
                  AND c.queue = '' AND c.fairness <> 'strict' LIMIT 1) IS NOT NULL AS arrives
            FROM unnest(s.scopes, s.rooms, s.serial) AS o (scope, room, serial)
            CROSS JOIN LATERAL (
                SELECT j.id, j.queue, j.place FROM (
                    SELECT j.id FROM :schema.jobs j WHERE j.namespace = open_gates.namespace AND j.gate = o.scope
                    ORDER BY j.priority, j.place LIMIT CASE WHEN o.room = 0 THEN 0 WHEN o.serial THEN 1 ELSE LEAST(o.room, most) + 20 END
                ) n JOIN :schema.jobs j ON j.id = ANY (ARRAY[n.id]) WHERE j.gate = o.scope
                LIMIT LEAST(o.room, most) FOR UPDATE OF j SKIP LOCKED
            ) j LIMIT most
        ), back AS (
            -- In a fair queue one that has had no turn yet arrives now, as any other of its group.
            UPDATE :schema.jobs j SET seq = CASE WHEN o.arrives THEN nextval(:'schema.job_seq'::regclass) ELSE j.place END,
                gate = CASE WHEN NOT o.arrives THEN 'back ' || j.queue END, place = CASE WHEN NOT o.arrives THEN j.place END, state = 'q', slots = j.slots | CASE WHEN o.scope LIKE 'key %' THEN 4 ELSE 0 END
            FROM out o WHERE j.id = ANY (ARRAY[o.id]) RETURNING j.queue, j.priority, o.scope,
                (open_gates.tasks IS NULL OR j.task = ANY (open_gates.tasks)) AND (in_queues IS NULL OR j.queue = ANY (in_queues)) AS mine
        )
        SELECT array_agg(b.queue), array_agg(b.priority), array_agg(b.scope), min(b.priority) FILTER (WHERE b.mine)
        INTO queues, priorities, outs, first_out FROM back b;
        IF queues IS NOT NULL THEN
            PERFORM :schema.pass_scopes(namespace, array_agg(k.scope), array_agg(k.gone), array_agg(true))
            FROM (SELECT u.scope, count(*)::integer AS gone FROM unnest(outs) AS u (scope) WHERE u.scope LIKE 'key %' GROUP BY 1 ORDER BY 1) k
            HAVING count(*) > 0;
            PERFORM :schema.note_returning(namespace, queues, priorities);
        END IF;
        -- Who was let out and is not claimed has not passed yet, and somebody may have locked who is next: then it is not looked at once more.
        PERFORM :schema.look_again(namespace, array_agg(l.scope), array_agg(l.room), COALESCE(cardinality(queues), 0) < most) FROM (
            SELECT a.scope, sum(a.room)::integer AS room FROM (
                SELECT u.scope, u.room FROM unnest(s.scopes, s.rooms) AS u (scope, room) UNION ALL SELECT o, -1 FROM unnest(outs) o) a GROUP BY 1) l;
        PERFORM :schema.forget_keys(namespace, s.scopes);
        IF first_out <= COALESCE(first_priority, first_out) THEN
            first_priority := first_out;
            first_queue := NULL;
        END IF;
    END IF;
    IF found.keys IS NOT NULL THEN
        SELECT k.opened, k.taken INTO opened, taken FROM :schema.open_keys(namespace, found.keys, found.used, most, worker, claim, n,
            COALESCE(starting, n), tasks, in_queues, last_queue, bytes, first_priority, first_queue) k;
    END IF;
    opened := opened + COALESCE(cardinality(queues), 0);
END $$;
