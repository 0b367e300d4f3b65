-- What a running attempt writes while it runs: progress patches, log lines, events. Fenced like its end.

-- The line of a log that is full. (Workers in Python say it in the same words.)
CREATE OR REPLACE FUNCTION :schema.full_log(dropped bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('level', 'warning', 'message', 'the log is full: lines after the 1,000th are dropped',
                              'fields', jsonb_build_object('dropped', $1))
$$;

-- That line says from now on that so many were dropped. With the owner's rights: a worker adds to history and changes nothing else of it.
CREATE OR REPLACE FUNCTION :schema.log_full(id uuid, attempt integer, dropped bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE :schema.run_log o SET data = :schema.full_log(dropped)
    WHERE o.run_id = log_full.id AND o.n = (
        SELECT max(l.n) FROM :schema.run_log l WHERE l.run_id = log_full.id AND l.attempt = log_full.attempt
          AND l.kind = 'log' AND l.data -> 'message' = :schema.full_log(0) -> 'message');
END $$;

-- Append entries; ats in seconds ago. The kind 'full' replaces what the line of a full log says. Answers the runs whose lease is lost: of them nothing was written. A job that somebody
-- has locked is not waited for, as all others would wait with it: who holds it by what is committed may write.
CREATE OR REPLACE FUNCTION :schema.log_runs(
    worker uuid, ids uuid[], claims bigint[], kinds text[], ats double precision[], datas jsonb[]
) RETURNS uuid[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    mine uuid[];
BEGIN
    mine := ARRAY(
        SELECT j.id FROM (SELECT DISTINCT u.id, u.claim FROM unnest(ids, claims) AS u (id, claim) ORDER BY 1) u
        JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.worker = log_runs.worker AND j.claim = u.claim FOR SHARE OF j SKIP LOCKED);
    IF EXISTS (SELECT FROM unnest(ids) AS u (id) WHERE u.id <> ALL (mine)) THEN
        mine := mine || ARRAY(
            SELECT j.id FROM (SELECT DISTINCT u.id, u.claim FROM unnest(ids, claims) AS u (id, claim) WHERE u.id <> ALL (mine)) u
            JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.worker = log_runs.worker AND j.claim = u.claim);
    END IF;
    INSERT INTO :schema.run_log (run_id, at, attempt, kind, data)
    SELECT u.id, statement_timestamp() - u.ago * interval '1 second', j.attempt, u.kind, u.data
    FROM unnest(ids, claims, kinds, ats, datas) WITH ORDINALITY AS u (id, claim, kind, ago, data, i)
    JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.claim = u.claim
    WHERE u.id = ANY (mine) AND u.kind <> 'full' ORDER BY u.i;
    IF 'full' = ANY (kinds) THEN
        PERFORM :schema.log_full(u.id, j.attempt, (u.data -> 'fields' ->> 'dropped')::bigint)
        FROM unnest(ids, claims, kinds, datas) WITH ORDINALITY AS u (id, claim, kind, data, i)
        JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) AND j.claim = u.claim
        WHERE u.id = ANY (mine) AND u.kind = 'full' ORDER BY u.i;
    END IF;
    RETURN ARRAY(SELECT DISTINCT u.id FROM unnest(ids) AS u (id) WHERE u.id <> ALL (mine));
END $$;
COMMENT ON FUNCTION :schema.log_runs(uuid, uuid[], bigint[], text[], double precision[], jsonb[]) IS
    'Append log lines, progress and events of running attempts; answers the runs whose lease is lost.';

-- One patch laid over another: objects are merged to any depth, null removes, all else replaces (RFC 7386).
CREATE OR REPLACE FUNCTION :schema.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- The common case, a third of the time: nothing to remove, and nothing to merge more deeply.
    IF jsonb_typeof(target) = 'object' AND jsonb_typeof(patch) = 'object'
       AND NOT jsonb_path_exists(patch, 'strict $.* ? (@ == null || @.type() == "object")') THEN
        RETURN target || patch;
    ELSIF jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    IF target IS NULL OR jsonb_typeof(target) <> 'object' THEN
        target := '{}';
    END IF;
    RETURN COALESCE((
        SELECT jsonb_object_agg(COALESCE(t.key, p.key),
            CASE WHEN p.key IS NULL THEN t.value WHEN jsonb_typeof(p.value) = 'object' THEN :schema.merge_patch(t.value, p.value) ELSE p.value END)
        FROM jsonb_each(target) t FULL JOIN jsonb_each(patch) p ON p.key = t.key
        WHERE p.key IS NULL OR jsonb_typeof(p.value) <> 'null'), '{}');
END $$;

-- Every patch of a run, laid one over the other.
CREATE OR REPLACE AGGREGATE :schema.merge_patches(jsonb) (SFUNC = :schema.merge_patch, STYPE = jsonb);

-- The one patch that does what both do, one after the other. Null: there is none, as something that is no object was said where there
-- is to be an object now, and what was there before that must not come back.
CREATE OR REPLACE FUNCTION :schema.join_patches(earlier jsonb, later jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    together jsonb := earlier || later;
    part     record;
    inside   jsonb;
BEGIN
    IF jsonb_path_exists(later, 'strict $.* ? (@.type() == "object")') THEN
        FOR part IN SELECT l.key, l.value AS later, earlier -> l.key AS earlier FROM jsonb_each(later) l
                    WHERE jsonb_typeof(l.value) = 'object' AND earlier ? l.key LOOP
            inside := CASE WHEN jsonb_typeof(part.earlier) = 'object' THEN :schema.join_patches(part.earlier, part.later) END;
            IF inside IS NULL THEN
                RETURN NULL;
            END IF;
            together := together || jsonb_build_object(part.key, inside);
        END LOOP;
    END IF;
    RETURN together;
END $$;

-- Who holds a run says this instead of what it said last: under a new number, by which those who watch find it. False: it does not hold it,
-- somebody has locked it, or it has said something else meanwhile. With the owner's rights, as above.
CREATE OR REPLACE FUNCTION :schema.replace_patch(worker uuid, id uuid, claim bigint, n bigint, patch jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number integer;
BEGIN
    SELECT j.attempt INTO number FROM :schema.jobs j WHERE j.id = $2 AND j.worker = $1 AND j.claim = $3 FOR SHARE SKIP LOCKED;
    UPDATE :schema.run_log o SET n = nextval(:'schema.log_seq'::regclass), data = $5
    WHERE o.run_id = $2 AND o.n = $4 AND o.attempt = number AND o.kind = 'progress';
    RETURN FOUND;
END $$;
