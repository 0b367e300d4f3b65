-- Lanes that nobody uses any longer go, as every claim walks through all there are: a queue of its own for each tenant or each day
-- would leave its rows for ever.
--
-- An enqueue only looks whether its lane is there, and locks nothing. So a lane goes in three steps, each a transaction of its own:
--   retire_lanes       marks a lane in which no job stands. From then on nobody relies on that row: who enqueues adds another.
--   open_transactions  those that may have relied on it before: all that are open when the mark is seen by everyone. When they have
--                      ended (any_open), what they have stored is seen, too.
--   drop_lanes         deletes the marked rows; where a job stands in the lane and no other row of it is there, takes the mark back.
-- Scheduled jobs need no lane: it is noted when they get their place in line. What this does not cover is an enqueue under a snapshot
-- that was imported (SET TRANSACTION SNAPSHOT) from a transaction which has ended since.

-- Does a job stand in this lane, whoever holds it?
CREATE OR REPLACE FUNCTION :schema.lane_in_use(namespace text, queue text, priority smallint) RETURNS boolean
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM :schema.jobs j WHERE j.namespace = $1 AND j.queue = $2 AND j.priority = $3 AND j.seq IS NOT NULL);
END $$;

-- Mark lanes in which no job stands, unless there are few lanes anyway (no more than `beyond` rows); a lane that is marked already is
-- left until that row is gone. Answers the marks that are older than `idle`: they may be dropped.
CREATE OR REPLACE FUNCTION :schema.retire_lanes(
    idle interval DEFAULT '1 hour', beyond integer DEFAULT 100, most integer DEFAULT 20000
) RETURNS timestamptz[] LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(:'schema' || ' lanes', 0));
    IF (SELECT count(*) FROM :schema.lanes) > beyond THEN
        UPDATE :schema.lanes l SET retired = clock_timestamp() FROM (
            SELECT l.ctid FROM :schema.lanes l
            WHERE l.retired IS NULL AND NOT :schema.lane_in_use(l.namespace, l.queue, l.priority)
              AND NOT EXISTS (SELECT FROM :schema.lanes o WHERE o.namespace = l.namespace AND o.queue = l.queue
                              AND o.priority = l.priority AND o.retired IS NOT NULL)
            LIMIT most FOR UPDATE SKIP LOCKED
        ) idle WHERE l.ctid = idle.ctid;
    END IF;
    RETURN ARRAY(SELECT DISTINCT l.retired FROM :schema.lanes l WHERE l.retired <= clock_timestamp() - idle);
END $$;

-- The transactions that are open now in this database, whoever's: each holds a lock on its virtual id, which anyone may see.
CREATE OR REPLACE FUNCTION :schema.open_transactions() RETURNS text[]
LANGUAGE plpgsql VOLATILE SET jit = off SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN ARRAY(
        SELECT l.virtualxid FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.pid <> pg_backend_pid()
          AND (a.datid IS NULL OR a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
          AND a.backend_type IS DISTINCT FROM 'autovacuum worker');
END $$;

-- Is any of these still open? One that was prepared has another id: while there is any, the answer is yes. It is looked for last, as a
-- transaction that is being prepared has both for a moment.
CREATE OR REPLACE FUNCTION :schema.any_open(transactions text[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET jit = off SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF :schema.open_transactions() && transactions THEN
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.database = current_database());
END $$;

-- Delete the rows with these marks, at most so many; where one is needed again, take its mark back. Answers how many are gone. Call it
-- only when all transactions have ended that were open when the marks were there.
CREATE OR REPLACE FUNCTION :schema.drop_lanes(marks timestamptz[], most integer DEFAULT 20000) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    gone integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(:'schema' || ' lanes', 0));
    UPDATE :schema.lanes l SET retired = NULL
    WHERE l.retired = ANY (marks) AND :schema.lane_in_use(l.namespace, l.queue, l.priority)
      AND NOT EXISTS (SELECT FROM :schema.lanes o WHERE o.namespace = l.namespace AND o.queue = l.queue
                      AND o.priority = l.priority AND o.retired IS NULL AND (o.back OR NOT l.back));
    WITH dropped AS (
        DELETE FROM :schema.lanes l USING (
            SELECT l.ctid FROM :schema.lanes l WHERE l.retired = ANY (marks) LIMIT most FOR UPDATE SKIP LOCKED
        ) old WHERE l.ctid = old.ctid RETURNING 1
    ) SELECT count(*) INTO gone FROM dropped;
    RETURN gone;
END $$;
