-- Jobs come back from workers that will not finish them: released at shutdown, stranded by a lost reply, or rescued.

-- The jobs that a worker holds under these claims (NULL: under any). A claim says in which lane and where they are.
CREATE OR REPLACE FUNCTION :schema.held_jobs(worker uuid, claims bigint[] DEFAULT NULL) RETURNS uuid[]
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN ARRAY(
        SELECT j.id FROM :schema.claims c CROSS JOIN LATERAL (
            SELECT j.id FROM :schema.jobs j
            WHERE j.namespace = c.namespace AND j.queue = c.queue AND j.priority = c.priority
              AND j.seq BETWEEN c.first_seq AND c.last_seq AND j.worker = c.worker AND j.claim = c.claim OFFSET 0
        ) j
        WHERE c.worker = held_jobs.worker AND (claims IS NULL OR c.claim = ANY (claims)));
END $$;

-- Put back jobs that a worker holds. Those that had not started go back as if never claimed.
-- lost: the worker died: an attempt that had started is history as lost; the third such loss fails the run.
-- Otherwise it is history as released. Neither counts as an attempt. Answers one row a job: its id and what became of it.
-- begun: false where the worker knows that none of them has begun, whatever their state says.
-- claims: the claim of each job (NULL: any). A job that somebody has locked is waited for, but not when its worker is dead:
-- the others need not wait.
CREATE OR REPLACE FUNCTION :schema.put_back(
    worker uuid, ids uuid[], lost boolean, most_losses integer DEFAULT 3, claims bigint[] DEFAULT NULL, begun boolean DEFAULT true
)
RETURNS TABLE (id uuid, task text, verdict text) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    back jsonb; namespaces text[]; queues text[]; tasks text[]; keys text[]; freed smallint[];
BEGIN
    IF lost THEN
        ids := ARRAY(SELECT j.id FROM :schema.jobs j WHERE j.id = ANY (ids) AND j.worker = put_back.worker FOR UPDATE SKIP LOCKED);
    END IF;
    WITH held AS MATERIALIZED (
        SELECT DISTINCT u.id, u.claim FROM unnest(ids, claims) AS u (id, claim) ORDER BY 1
    ), locked AS MATERIALIZED (
        SELECT j.*, j.state = 'r' AND begun AS ran, CASE
            WHEN j.cancelled THEN 'cancelled'
            WHEN lost AND j.state = 'r' AND begun AND j.rescues + 1 >= most_losses THEN 'failed'
            ELSE 'ready' END AS verdict
        FROM held h JOIN :schema.jobs j ON j.id = ANY (ARRAY[h.id])
        WHERE j.worker = put_back.worker AND j.claim = COALESCE(h.claim, j.claim) FOR UPDATE OF j
    ), gone AS (
        DELETE FROM :schema.jobs j USING locked l WHERE j.id = ANY (ARRAY[l.id]) AND l.verdict <> 'ready' RETURNING j.id
    ), again AS (
        UPDATE :schema.jobs j SET worker = :schema.nobody(), claim = 0, state = 'q',
            attempt = j.attempt - CASE WHEN l.ran THEN 0 ELSE 1 END,
            uncounted = j.uncounted + CASE WHEN l.ran THEN 1 ELSE 0 END,
            rescues = j.rescues + CASE WHEN lost AND l.ran THEN 1 ELSE 0 END,
            suspect = j.suspect OR lost, slots = j.slots & 4,
            gate = CASE WHEN j.seq < 0 THEN 'back ' || j.queue END, place = CASE WHEN j.seq < 0 THEN j.seq END
        FROM locked l WHERE j.id = ANY (ARRAY[l.id]) AND l.verdict = 'ready'
        RETURNING j.namespace, j.queue, j.priority, j.seq
    ), history AS (
        INSERT INTO :schema.attempts (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, error)
        SELECT l.id, put_back.worker, l.claim, CASE WHEN l.ran THEN l.claimed_at END, statement_timestamp(), l.attempt,
            l.attempt - l.uncounted, l.verdict <> 'ready',
            CASE WHEN l.verdict <> 'ready' THEN l.verdict WHEN lost THEN 'lost' ELSE 'released' END,
            CASE WHEN l.verdict = 'cancelled' THEN :schema.cancel_error(put_back.worker, l.id, l.ran)
            WHEN lost THEN jsonb_build_object('type', 'WorkerLost', 'retryable', l.verdict = 'ready',
                'message', format('worker %s died or lost the database while the run was running%s', put_back.worker,
                    CASE l.verdict WHEN 'failed' THEN format('; %s workers were lost with it', l.rescues + 1) ELSE '' END)) END
        FROM locked l WHERE l.ran OR l.verdict <> 'ready'
    ), told AS MATERIALIZED (
        SELECT :schema.note_returns(a.namespace, array_agg(a.queue), array_agg(a.priority), array_agg(a.seq))
        FROM again a GROUP BY a.namespace
    )
    SELECT jsonb_agg(jsonb_build_object('id', l.id, 'task', l.task, 'verdict', l.verdict,
                                        'awaited', l.awaited AND l.verdict <> 'ready')),
        array_agg(l.namespace) FILTER (WHERE l.freed > 0), array_agg(l.queue) FILTER (WHERE l.freed > 0),
        array_agg(l.task) FILTER (WHERE l.freed > 0), array_agg(l.concurrency_key) FILTER (WHERE l.freed > 0),
        array_agg(l.freed) FILTER (WHERE l.freed > 0)
    INTO back, namespaces, queues, tasks, keys, freed
    FROM (SELECT k.*, (k.slots & CASE k.verdict WHEN 'ready' THEN 3 ELSE 7 END)::smallint AS freed FROM locked k) l WHERE (SELECT count(*) FROM told) >= 0;
    IF freed IS NOT NULL THEN
        PERFORM :schema.free_slots(namespaces, queues, tasks, keys, freed);
    END IF;
    PERFORM :schema.tell_waiters(ARRAY(SELECT (b ->> 'id')::uuid FROM jsonb_array_elements(back) b WHERE (b ->> 'awaited')::boolean));
    RETURN QUERY SELECT (b ->> 'id')::uuid, b ->> 'task', b ->> 'verdict' FROM jsonb_array_elements(COALESCE(back, '[]')) b;
END $$;

-- Forget claims of a worker (NULL: all) under which nothing is held any more; says whether none of them is left. In one
-- statement: a claim that commits meanwhile keeps its row, or nobody would ever find its jobs.
CREATE OR REPLACE FUNCTION :schema.drop_claims(worker uuid, claims bigint[] DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM :schema.claims c
    WHERE c.worker = drop_claims.worker AND (claims IS NULL OR c.claim = ANY (claims))
      AND (SELECT true FROM :schema.jobs j
           WHERE j.namespace = c.namespace AND j.queue = c.queue AND j.priority = c.priority
             AND j.seq BETWEEN c.first_seq AND c.last_seq AND j.worker = c.worker AND j.claim = c.claim LIMIT 1) IS NULL;
    RETURN NOT EXISTS (SELECT FROM :schema.claims c
                       WHERE c.worker = drop_claims.worker AND (claims IS NULL OR c.claim = ANY (claims)));
END $$;

-- Give back every job of these claims of a worker (NULL: all of its claims), uncounted. Answers how many.
CREATE OR REPLACE FUNCTION :schema.release_jobs(worker uuid, claims bigint[] DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    freed integer := (SELECT count(*) FROM :schema.put_back(worker, :schema.held_jobs(worker, claims), false));
BEGIN
    PERFORM :schema.drop_claims(worker, claims);
    RETURN freed;
END $$;
COMMENT ON FUNCTION :schema.release_jobs(uuid, bigint[]) IS 'Give back the jobs that a worker holds (of some claims, or all); not counted as attempts.';

-- The number whose session advisory lock a live worker holds.
CREATE OR REPLACE FUNCTION :schema.liveness_key(worker uuid) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp AS $$ SELECT hashtextextended(:'schema' || $1::text, 0) $$;

-- Look for dead workers, and rescue what they held. A worker is dead when its liveness lock has been free, with no beat, for
-- `gone`; or when it has not beaten for `frozen` though its session lives. Safe to run by many at once: each dead worker is
-- taken by one. Who has only just appeared and not beaten yet is left alone for a while: it has its lock in a moment, on a slow
-- machine a little later. Who holds its lock and beats is not touched: to look at the living writes nothing. One row a rescued job; a
-- row without id means: look again in that many milliseconds (in verdict).
CREATE OR REPLACE FUNCTION :schema.rescue(
    rescuer uuid, gone interval DEFAULT '3 seconds', frozen interval DEFAULT '60 seconds', most_losses integer DEFAULT 3
) RETURNS TABLE (id uuid, task text, verdict text, worker uuid, worker_name text)
LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    w      record;
    dead   boolean;
    alive  bigint[] := ARRAY(SELECT (l.classid::bigint << 32) | l.objid::bigint FROM pg_locks l
                             WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
                               AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));
    silent uuid[] := ARRAY(SELECT o.id FROM :schema.workers o
                           WHERE o.id <> rescuer AND (o.beat_at < clock_timestamp() - LEAST(gone, frozen)
                                                      OR :schema.liveness_key(o.id) <> ALL (alive)));
BEGIN
    FOR w IN SELECT o.* FROM :schema.workers o WHERE o.id = ANY (silent) ORDER BY o.id FOR UPDATE SKIP LOCKED
    LOOP
        dead := w.beat_at < clock_timestamp() - frozen;
        CONTINUE WHEN NOT dead AND w.beat_at = w.started_at AND w.beat_at > clock_timestamp() - LEAST(frozen, gone * 5);
        CONTINUE WHEN NOT dead AND w.suspected_at > clock_timestamp();  -- it lives by a lease (contract_worker.sql), which has not run out
        IF NOT dead AND pg_try_advisory_xact_lock(:schema.liveness_key(w.id)) THEN
            IF w.suspected_at IS NULL OR w.suspected_at < w.beat_at THEN
                UPDATE :schema.workers o SET suspected_at = clock_timestamp() WHERE o.id = w.id;
                RETURN QUERY SELECT NULL::uuid, NULL::text, (extract(epoch FROM gone) * 1000)::integer::text, w.id, w.name;
            ELSE
                dead := clock_timestamp() - w.suspected_at >= gone;
                IF NOT dead THEN
                    RETURN QUERY SELECT NULL::uuid, NULL::text,
                        (extract(epoch FROM w.suspected_at + gone - clock_timestamp()) * 1000)::integer::text, w.id, w.name;
                END IF;
            END IF;
        END IF;
        IF dead THEN
            RETURN QUERY SELECT b.id, b.task, b.verdict, w.id, w.name
                FROM :schema.put_back(w.id, :schema.held_jobs(w.id), true, most_losses) b;
            DELETE FROM :schema.bells b WHERE b.worker = w.id;
            -- A job that somebody has locked is left for the next look, and with it the claims and the row.
            IF :schema.drop_claims(w.id) THEN
                DELETE FROM :schema.cancels c WHERE c.worker = w.id;
                DELETE FROM :schema.workers o WHERE o.id = w.id;
            END IF;
        END IF;
    END LOOP;
    -- A bell of nobody: turned on by a worker when it had been given up already, or was about to be. Every enqueue would ring it for ever.
    DELETE FROM :schema.bells b WHERE b.ctid = ANY (ARRAY(
        SELECT o.ctid FROM :schema.bells o WHERE NOT EXISTS (SELECT FROM :schema.workers k WHERE k.id = o.worker) FOR UPDATE SKIP LOCKED));
    -- Claims whose worker has no row at all (removed by hand, or a claim that committed after its worker was given up).
    FOR w IN SELECT DISTINCT c.worker AS id FROM :schema.claims c
             WHERE c.claimed_at < clock_timestamp() - LEAST(frozen, gone * 5) AND NOT EXISTS (SELECT FROM :schema.workers o WHERE o.id = c.worker)
             ORDER BY 1
    LOOP
        IF pg_try_advisory_xact_lock(:schema.liveness_key(w.id)) THEN
            RETURN QUERY SELECT b.id, b.task, b.verdict, w.id, NULL::text
                FROM :schema.put_back(w.id, :schema.held_jobs(w.id), true, most_losses) b;
            PERFORM :schema.drop_claims(w.id);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION :schema.rescue(uuid, interval, interval, integer) IS 'Return the jobs of dead workers to their queues.';
