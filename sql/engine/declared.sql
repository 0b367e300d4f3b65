-- Schedules that the code declares: workers publish them when they start, and say from time to time that they still do.

-- What a worker declares: for each [{"task", "input", "cron", …}] a schedule whose key is its task; of the tasks it knows, those that no
-- longer declare one lose theirs. Those of tasks that it does not know are not touched, nor one of that key added by hand (taken).
CREATE OR REPLACE FUNCTION :schema.publish_schedules(namespace text, pool text, tasks text[], declared jsonb)
RETURNS TABLE (key text, outcome text) LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s    :schema.schedules;
    said jsonb;
BEGIN
    FOR said IN SELECT d FROM jsonb_array_elements(declared) d ORDER BY d ->> 'task' LOOP
        key := said ->> 'task';
        IF EXISTS (SELECT FROM :schema.schedules o WHERE o.namespace = publish_schedules.namespace AND o.key = said ->> 'task' AND o.source = 'dynamic') THEN
            outcome := 'taken';
        ELSE
            s := jsonb_populate_record(CAST(NULL AS :schema.schedules), said);
            s.namespace := namespace; s.key := key; s.source := 'declarative'; s.owner := pool; s.seen_at := statement_timestamp();
            s.input := COALESCE(s.input, '{}'); s.timezone := COALESCE(s.timezone, 'UTC'); s.catch_up := COALESCE(s.catch_up, 0);
            s.overlap := COALESCE(s.overlap, 'allow'); s.jitter := COALESCE(s.jitter, interval '0');
            IF NOT said ? 'concurrency_key' THEN  -- by a worker of a version that does not know of it
                s.concurrency_key := (SELECT o.concurrency_key FROM :schema.schedules o WHERE o.namespace = publish_schedules.namespace AND o.key = said ->> 'task');
            END IF;
            outcome := :schema.keep_schedule(s);
        END IF;
        RETURN NEXT;
    END LOOP;
    FOR key IN DELETE FROM :schema.schedules o
               WHERE o.namespace = publish_schedules.namespace AND o.source = 'declarative' AND o.key = ANY (tasks)
                 AND o.key NOT IN (SELECT d ->> 'task' FROM jsonb_array_elements(declared) d)
               RETURNING o.key
    LOOP
        PERFORM :schema.announce_schedules(namespace, ARRAY[key]);
        outcome := 'removed';
        RETURN NEXT;
    END LOOP;
    PERFORM :schema.see_schedules(namespace, pool, ARRAY(SELECT d ->> 'task' FROM jsonb_array_elements(declared) d));
END $$;

-- A live worker still declares these schedules. One that was paused because none did goes on; it has missed nothing.
CREATE OR REPLACE FUNCTION :schema.see_schedules(namespace text, pool text, keys text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    one text;
BEGIN
    PERFORM FROM :schema.schedules s WHERE s.namespace = see_schedules.namespace AND s.key = ANY (keys) AND s.source = 'declarative' ORDER BY s.key FOR UPDATE;
    FOR one IN UPDATE :schema.schedules s SET seen_at = statement_timestamp(), owner = pool
               WHERE s.namespace = see_schedules.namespace AND s.key = ANY (keys) AND s.source = 'declarative'
               RETURNING CASE WHEN s.pause_reason = :schema.unpublished() THEN s.key END
    LOOP
        IF one IS NOT NULL THEN
            PERFORM :schema.resume_schedule(one, namespace);
        END IF;
    END LOOP;
END $$;

-- Why a declarative schedule was paused by itself.
CREATE OR REPLACE FUNCTION :schema.unpublished() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 'no live worker publishes its task' $$;

-- Pause the declarative schedules that no worker has published for that long; answers their keys.
CREATE OR REPLACE FUNCTION :schema.pause_unpublished(namespace text, after interval DEFAULT '7 days') RETURNS text[]
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    keys text[] := ARRAY(SELECT s.key FROM :schema.schedules s
                         WHERE s.namespace = pause_unpublished.namespace AND s.source = 'declarative' AND s.paused_until IS NULL
                           AND s.seen_at < statement_timestamp() - after ORDER BY s.key FOR UPDATE SKIP LOCKED);
BEGIN
    PERFORM :schema.pause_schedule(k.key, NULL, :schema.unpublished(), namespace) FROM unnest(keys) AS k (key);
    RETURN keys;
END $$;
