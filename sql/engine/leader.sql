-- Who leads a namespace: whoever holds its advisory lock with a session, and renews its row. The lock is free as soon as the
-- leader's process is gone; the row runs out when the process is frozen or its host has vanished, and then others end its session.
-- Every duty of a leader is safe if two believe to lead.

-- The number whose session advisory lock the leader holds.
CREATE OR REPLACE FUNCTION :schema.leader_key(namespace text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp AS $$ SELECT hashtextextended(:'schema' || ' leader ' || $1, 0) $$;

-- Does that session (NULL: this one) hold the leader's lock?
CREATE OR REPLACE FUNCTION :schema.holds_leader_lock(namespace text, pid integer DEFAULT NULL) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_locks l
                   WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.pid = COALESCE($2, pg_backend_pid())
                     AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                     AND (l.classid::bigint << 32) | l.objid::bigint = :schema.leader_key($1))
$$;

-- End the session of a leader whose lease has run out, with the caller's rights; nobody else's, and none that does not hold the
-- lock. Says whether it has ended. False also where it may not be ended.
CREATE OR REPLACE FUNCTION :schema.end_session(namespace text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    held integer := (SELECT l.pid FROM :schema.leader l
                     WHERE l.namespace = end_session.namespace AND l.expires_at <= clock_timestamp());
BEGIN
    IF held IS NULL OR held = pg_backend_pid() OR NOT :schema.holds_leader_lock(namespace, held) THEN
        RETURN true;
    END IF;
    RETURN pg_terminate_backend(held, 1000);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN false;
END $$;

-- The same, with the rights of who owns the schema: a worker that logs in as somebody else than the leader may not end its session.
CREATE OR REPLACE FUNCTION :schema.end_leader(namespace text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN :schema.end_session(namespace);
END $$;

-- Lead, or go on leading, for `lease` from now. leads says whether this worker does; again_in, if not, in how many seconds it may;
-- ended: the session of the former leader that had to be ended. One call at a time, in all of the namespace.
-- locking: false behind a pooler, where no session can hold a lock and the row alone decides. So it does where the session of a
-- leader whose lease has run out cannot be ended.
CREATE OR REPLACE FUNCTION :schema.lead(
    namespace text, worker uuid, lease interval DEFAULT '10 seconds', locking boolean DEFAULT true
) RETURNS TABLE (leads boolean, again_in double precision, ended integer)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    held  :schema.leader;
    valid boolean;  -- another one's lease
    mine  boolean;  -- the lock
    ended integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(:'schema' || ' electing ' || namespace, 0));
    SELECT * INTO held FROM :schema.leader l WHERE l.namespace = lead.namespace;
    valid := held.holder <> worker AND held.expires_at > clock_timestamp();
    mine := locking AND :schema.holds_leader_lock(namespace);
    IF valid AND (held.pid IS NULL OR NOT locking) THEN
        IF mine THEN
            PERFORM pg_advisory_unlock(:schema.leader_key(namespace));
        END IF;
        RETURN QUERY SELECT false, extract(epoch FROM held.expires_at - clock_timestamp())::double precision, NULL::integer;
        RETURN;
    END IF;
    mine := mine OR locking AND pg_try_advisory_lock(:schema.leader_key(namespace));
    IF NOT mine AND held.expires_at <= clock_timestamp() THEN
        ended := CASE WHEN :schema.end_session(namespace) OR :schema.end_leader(namespace) THEN held.pid END;
        mine := locking AND pg_try_advisory_lock(:schema.leader_key(namespace));
    ELSIF NOT mine AND locking THEN
        RETURN QUERY SELECT false, COALESCE(extract(epoch FROM held.expires_at - clock_timestamp()), 0.5)::double precision, NULL::integer;
        RETURN;
    END IF;
    INSERT INTO :schema.leader AS l (namespace, holder, pid, since, expires_at)
    VALUES (namespace, worker, CASE WHEN mine THEN pg_backend_pid() END, clock_timestamp(), clock_timestamp() + lease)
    ON CONFLICT ON CONSTRAINT leader_pkey DO UPDATE SET holder = EXCLUDED.holder, pid = EXCLUDED.pid, expires_at = EXCLUDED.expires_at,
        since = CASE WHEN l.holder = EXCLUDED.holder THEN l.since ELSE EXCLUDED.since END;
    RETURN QUERY SELECT true, NULL::double precision, ended;
END $$;

-- Lead no longer; the others are told, and one of them leads at once.
CREATE OR REPLACE FUNCTION :schema.resign(namespace text, worker uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM :schema.leader l WHERE l.namespace = resign.namespace AND l.holder = worker;
    IF :schema.holds_leader_lock(namespace) THEN
        PERFORM pg_advisory_unlock(:schema.leader_key(namespace));
    END IF;
    PERFORM pg_notify(:'schema', jsonb_build_object('leader', NULL, 'namespace', namespace)::text);
END $$;
