-- Control, what code and settings say: published by a worker when it starts.

-- The weights that hold: by ["queue", "group"], as text.
CREATE OR REPLACE FUNCTION :schema.weights_of(namespace text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT COALESCE(jsonb_object_agg(jsonb_build_array(f.queue, f.name)::text, f.weight), '{}') FROM :schema.controls_in_force f
    WHERE f.namespace = $1 AND f.kind = 'group' AND f.weight IS NOT NULL
$$;

-- Publish what this code, or these settings, say of tasks, queues and groups; what they do not say any longer is taken back. Answers how
-- many were named or taken back.
--   items    [{"kind", "name", "queue" (of a group), "change": as set_control takes it}]
--   known    the scopes that this source speaks for ('task mail.send', 'queue mail', which has its groups with it); of others nothing changes
CREATE OR REPLACE FUNCTION :schema.publish_controls(namespace text, source text, items jsonb, known text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    item record;
    done integer := 0;
    before jsonb := :schema.weights_of(namespace);
BEGIN
    IF source NOT IN ('code', 'settings') THEN  -- what is said at run time is for people (set_control)
        PERFORM :schema.refuse('source', format('is %L', source), 'give code or settings', 'publish_controls');
    END IF;
    -- In one order, so that workers which start together wait for each other and do not block each other.
    FOR item IN
        WITH said AS (
            SELECT s.kind, s.name, COALESCE(s.queue, '') AS queue, s.change
            FROM jsonb_to_recordset(items) AS s (kind text, name text, queue text, change jsonb)
        ), stands AS (
            SELECT c.kind, c.name, c.queue, (SELECT jsonb_object_agg(k, NULL) FROM jsonb_object_keys(jsonb_strip_nulls(
                to_jsonb(c) - '{namespace,kind,name,queue,source,changed_at}'::text[])) k) AS nothing
            FROM :schema.controls c
            WHERE c.namespace = publish_controls.namespace AND c.source = publish_controls.source
              AND CASE c.kind WHEN 'group' THEN 'queue ' || c.queue ELSE c.kind || ' ' || c.name END = ANY (known)
        )
        SELECT kind, name, queue, COALESCE(t.nothing, '{}') || COALESCE(s.change, '{}') AS change
        FROM said s FULL JOIN stands t USING (kind, name, queue) ORDER BY kind, name, queue
    LOOP
        PERFORM :schema.set_control(item.kind, item.name, item.change, item.queue, publish_controls.namespace, publish_controls.source);
        done := done + 1;
    END LOOP;
    -- All groups of a queue together: each look reads the queue's lanes.
    PERFORM :schema.share_anew(namespace, c.scope ->> 0, array_agg(c.scope ->> 1)) FROM (
        SELECT key::jsonb AS scope FROM jsonb_each(before) b FULL JOIN jsonb_each(:schema.weights_of(namespace)) a USING (key)
        WHERE a.value IS DISTINCT FROM b.value) c GROUP BY c.scope ->> 0;
    RETURN done;
END $$;
