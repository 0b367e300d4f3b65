-- Fairness: in a queue with groups, who comes next.
--
-- Start-time fair queueing (Goyal, Vin, Cheng 1996) over one lane: each job of a group gets a virtual time, one step after the last
-- job of its group, or now (the virtual time up to which the lane has been served) if that is later; the lane is read in that order. A
-- step is shorter for a group of more weight. So a group of 10 jobs among one of 100,000 has its turn with every round, and what it costs
-- does not depend on how many jobs or groups wait.
--
-- Jobs come into the lane with the seq of their arrival, which is positive. The claim that meets arrivals gives them their virtual times,
-- which are negative seqs: they stand before all arrivals, in an index range of their own. One claim at a time does so (the lane's row in
-- turns); the others read what has been arranged.

-- The seq of the first virtual time.
CREATE OR REPLACE FUNCTION :schema.first_turn() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT -4611686018427387904 $$;

-- How far a turn takes a group of this weight.
CREATE OR REPLACE FUNCTION :schema.turn_step(weight double precision) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT GREATEST(1, (1048576 / COALESCE($1, 1))::bigint)
$$;

-- The advisory lock of who makes rows of a queue in turns.
CREATE OR REPLACE FUNCTION :schema.turns_key(namespace text, queue text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended(:'schema' || ' turns ' || $1 || ' ' || $2, 0)
$$;

-- Arrange arrivals of one lane by turns. Answers the virtual time (a seq) from which the lane is to be read.
CREATE OR REPLACE FUNCTION :schema.arrange(
    namespace text, queue text, priority smallint, weighted boolean, most integer DEFAULT 5000
) RETURNS bigint LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    now_served bigint := (SELECT t.served FROM :schema.turns t WHERE t.namespace = $1 AND t.queue = $2 AND t.priority = $3);
BEGIN
    IF now_served IS NULL THEN
        INSERT INTO :schema.turns (namespace, queue, priority, served)
        SELECT $1, $2, $3, :schema.first_turn()
        WHERE pg_try_advisory_xact_lock(:schema.turns_key($1, $2)) ON CONFLICT DO NOTHING;
    END IF;
    SELECT t.served INTO now_served FROM :schema.turns t
    WHERE t.namespace = $1 AND t.queue = $2 AND t.priority = $3 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN COALESCE(now_served, (SELECT t.served FROM :schema.turns t WHERE t.namespace = $1 AND t.queue = $2 AND t.priority = $3), :schema.first_turn());
    END IF;
    -- Said anew while this claim was under way: then the lane is not arranged any more, or nobody would find what this one arranges.
    IF NOT EXISTS (SELECT FROM :schema.controls_in_force f WHERE f.namespace = $1 AND f.kind = 'queue' AND f.name = $2 AND f.fairness <> 'strict') THEN
        RETURN now_served;
    END IF;
    IF now_served >= 0 THEN  -- no virtual time: of an arrival (as versions before this one could note), and nothing is arranged behind it
        UPDATE :schema.turns t SET served = :schema.first_turn() WHERE t.namespace = $1 AND t.queue = $2 AND t.priority = $3;
        DELETE FROM :schema.groups g WHERE g.namespace = $1 AND g.queue = $2 AND g.priority = $3;
        now_served := :schema.first_turn();
    END IF;
    WITH come AS MATERIALIZED (
        SELECT j.id, COALESCE(j.group_key, '') AS group_key, j.seq FROM :schema.jobs j
        WHERE j.namespace = $1 AND j.queue = $2 AND j.priority = $3 AND j.seq > 0 AND j.worker = :schema.nobody() AND j.gate IS NULL
        ORDER BY j.seq LIMIT most FOR UPDATE SKIP LOCKED
    ), nth AS (
        SELECT come.*, row_number() OVER (PARTITION BY come.group_key ORDER BY come.seq) AS nth FROM come
    ), first AS (  -- what is known of a group is looked up once; by >=, as no other index can answer that
        SELECT n.*, CASE WHEN n.nth = 1 THEN GREATEST(now_served, (
                SELECT CASE WHEN g.group_key = n.group_key THEN g.tag END FROM :schema.groups g
                WHERE g.namespace = $1 AND g.queue = $2 AND g.priority = $3 AND g.group_key >= n.group_key ORDER BY g.group_key LIMIT 1)) END AS tag,
            CASE WHEN n.nth = 1 THEN :schema.turn_step(CASE WHEN weighted THEN (
                SELECT f.weight FROM :schema.controls_in_force f
                WHERE f.namespace = $1 AND f.kind = 'group' AND f.name = n.group_key AND f.queue = $2) END) END AS step
        FROM nth n
    ), tagged AS MATERIALIZED (
        SELECT f.id, f.group_key, max(f.tag) OVER same + max(f.step) OVER same * f.nth AS tag FROM first f WINDOW same AS (PARTITION BY f.group_key)
    ), moved AS (
        UPDATE :schema.jobs j SET seq = t.tag FROM tagged t WHERE j.id = ANY (ARRAY[t.id])
    )
    INSERT INTO :schema.groups AS g (namespace, queue, priority, group_key, tag)
    SELECT $1, $2, $3, t.group_key, max(t.tag) FROM tagged t GROUP BY t.group_key
    ON CONFLICT (namespace, queue, priority, group_key) DO UPDATE SET tag = EXCLUDED.tag;
    -- Groups of which nothing is left to serve begin anew when they come back.
    DELETE FROM :schema.groups g USING (
        SELECT g.ctid FROM :schema.groups g WHERE g.namespace = $1 AND g.queue = $2 AND g.priority = $3 AND g.tag <= now_served
        ORDER BY g.tag LIMIT 500) old
    WHERE g.ctid = old.ctid;
    RETURN now_served;
END $$;

-- The lane has been served up to here. Who cannot say so now, as another claim arranges it, leaves it to a later one.
CREATE OR REPLACE FUNCTION :schema.note_served(namespace text, queues text[], priorities smallint[], seqs bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE :schema.turns t SET served = m.seq FROM (
        SELECT o.ctid, u.seq FROM unnest(queues, priorities, seqs) AS u (queue, priority, seq)
        JOIN :schema.turns o ON o.namespace = note_served.namespace AND o.queue = ANY (ARRAY[u.queue]) AND o.priority = u.priority AND o.served < u.seq
        FOR UPDATE OF o SKIP LOCKED
    ) m WHERE t.ctid = m.ctid AND t.served < m.seq;
END $$;

-- The weights of these groups are others now, as was said, or count now and did not, or the other way round: what they have waiting gets new
-- virtual times, from where the lane has been served up to. What another claim has just locked keeps its own, and so does all of a lane with
-- more of them than a call can rewrite in the time that it has.
CREATE OR REPLACE FUNCTION :schema.share_anew(namespace text, queue text, group_keys text[], most integer DEFAULT 100000) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    policy text := (SELECT f.fairness FROM :schema.controls_in_force f WHERE f.namespace = $1 AND f.kind = 'queue' AND f.name = $2);
    lane   record;
BEGIN
    IF policy = 'strict' OR policy IS NULL THEN
        RETURN;
    END IF;
    PERFORM FROM :schema.turns t WHERE t.namespace = $1 AND t.queue = $2 ORDER BY t.priority FOR UPDATE;
    FOR lane IN SELECT t.priority, t.served FROM :schema.turns t WHERE t.namespace = $1 AND t.queue = $2 ORDER BY t.priority LOOP
        WITH step AS MATERIALIZED (
            SELECT u.group_key, :schema.turn_step(CASE policy WHEN 'weighted' THEN f.weight END) AS step FROM unnest(group_keys) AS u (group_key)
            LEFT JOIN :schema.controls_in_force f ON f.namespace = $1 AND f.kind = 'group' AND f.name = u.group_key AND f.queue = $2
        ), waits AS MATERIALIZED (
            SELECT j.id, j.group_key, j.seq FROM :schema.jobs j
            WHERE j.namespace = $1 AND j.queue = $2 AND j.priority = lane.priority AND j.seq < 0 AND j.worker = :schema.nobody()
              AND j.gate IS NULL AND j.group_key = ANY (group_keys) LIMIT most + 1 FOR UPDATE SKIP LOCKED
        ), tagged AS MATERIALIZED (
            SELECT w.id, w.group_key, lane.served + s.step * row_number() OVER (PARTITION BY w.group_key ORDER BY w.seq) AS tag
            FROM waits w JOIN step s USING (group_key) WHERE (SELECT count(*) FROM waits) <= most
        ), moved AS (
            UPDATE :schema.jobs j SET seq = t.tag FROM tagged t WHERE j.id = ANY (ARRAY[t.id])
        )
        INSERT INTO :schema.groups AS g (namespace, queue, priority, group_key, tag)
        SELECT $1, $2, lane.priority, t.group_key, max(t.tag) FROM tagged t GROUP BY t.group_key
        ON CONFLICT (namespace, queue, priority, group_key) DO UPDATE SET tag = EXCLUDED.tag;
    END LOOP;
END $$;

-- A queue is fair no longer: what was arranged is taken before what has come since.
CREATE OR REPLACE FUNCTION :schema.end_turns(namespace text, queue text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(:schema.turns_key($1, $2));  -- who arranges a lane for the first time has its row not committed yet
    PERFORM FROM :schema.turns t WHERE t.namespace = $1 AND t.queue = $2 ORDER BY t.priority FOR UPDATE;
    PERFORM :schema.note_returning($1, array_agg(t.queue), array_agg(t.priority)) FROM :schema.turns t
    WHERE t.namespace = $1 AND t.queue = $2 HAVING count(*) > 0;
    WITH arranged AS MATERIALIZED (  -- in the order of their ids, as all do that wait for several
        SELECT j.id FROM :schema.turns t JOIN :schema.jobs j ON j.namespace = $1 AND j.queue = $2 AND j.priority = t.priority
        WHERE t.namespace = $1 AND t.queue = $2 AND j.seq < 0 AND j.worker = :schema.nobody() AND j.gate IS NULL ORDER BY j.id
    ), locked AS MATERIALIZED (
        SELECT j.id FROM arranged a JOIN :schema.jobs j ON j.id = ANY (ARRAY[a.id])
        WHERE j.seq < 0 AND j.worker = :schema.nobody() AND j.gate IS NULL FOR UPDATE OF j
    )
    UPDATE :schema.jobs j SET gate = 'back ' || j.queue, place = j.seq FROM locked l WHERE j.id = ANY (ARRAY[l.id]);
END $$;
