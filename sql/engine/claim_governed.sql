-- Claiming where something is governed: limits, rates, fairness, ageing, pauses (controls.sql). What claim_jobs does, which calls this
-- instead where something is said of what is ready (lanes_apart), in steps: rooms of queues, turns, pick, admit, take.

-- What a claim must look at more closely. wanted: something is said of what is ready, or it came back to a place that reading has passed;
-- else queues: those to leave alone, as something is said of them, and ends: how far their lanes are read, in which nothing was ready then.
-- What comes after this look is behind nobody's cursor. Takes in the openings that are due first: they bring jobs back (opened), and some of
-- those are claimed at once (taken).
CREATE OR REPLACE FUNCTION :schema.lanes_apart(
    namespace text, tasks text[], queues text[], lane_queues text[], lane_priorities smallint[], lane_cursors bigint[], lane_uptos bigint[],
    worker uuid, claim bigint, n integer, starting integer, last_queue text, bytes bigint,
    OUT wanted boolean, OUT apart text[], OUT ends json, OUT opened integer, OUT taken :schema.jobs[]
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    ready record;
BEGIN
    opened := 0;
    IF (SELECT o.at FROM :schema.openings o WHERE o.namespace = lanes_apart.namespace ORDER BY o.at LIMIT 1) <= clock_timestamp() THEN
        IF EXISTS (SELECT FROM :schema.controls c WHERE c.namespace = lanes_apart.namespace AND (
                c.kind = 'all' AND c.paused_until > statement_timestamp() OR c.kind = 'queue' AND c.ageing IS NOT NULL)) THEN
            n := 0;  -- nothing at its gate: it may not be, or which goes first is for claim_governed to say
        END IF;
        SELECT l.priority, CASE WHEN min(l.queue) = max(l.queue) THEN min(l.queue) END AS queue INTO ready
        FROM :schema.known_lanes(namespace, lane_queues, lane_priorities, lane_cursors, lane_uptos) l
        WHERE n > 0 AND (queues IS NULL OR l.queue = ANY (queues)) AND ((SELECT true FROM :schema.jobs j
                WHERE j.namespace = lanes_apart.namespace AND j.queue = l.queue AND j.priority = l.priority AND j.seq > l.cursor AND j.seq <= l.upto
                  AND j.worker = :schema.nobody() AND (lanes_apart.tasks IS NULL OR j.task = ANY (lanes_apart.tasks))
                  AND j.deadline > statement_timestamp() ORDER BY j.seq LIMIT 1)
            OR (SELECT true FROM :schema.jobs j WHERE j.namespace = lanes_apart.namespace AND j.queue = l.queue AND j.priority = l.priority
                AND j.seq < 0 AND j.worker = :schema.nobody() AND (lanes_apart.tasks IS NULL OR j.task = ANY (lanes_apart.tasks)) ORDER BY j.seq LIMIT 1)
            OR (SELECT true FROM :schema.jobs j WHERE j.namespace = lanes_apart.namespace AND j.gate = 'back ' || l.queue AND j.priority = l.priority
                ORDER BY j.place LIMIT 1))
        GROUP BY l.priority ORDER BY l.priority LIMIT 1;
        SELECT g.opened, g.taken INTO opened, taken FROM :schema.open_gates(namespace, 1000, worker, claim, n, starting, tasks, queues, last_queue,
            bytes, ready.priority, ready.queue) g;
        opened := opened - COALESCE(cardinality(taken), 0);
    END IF;
    SELECT bool_or(c.kind IN ('task', 'group') OR c.kind = 'all' AND c.paused_until > statement_timestamp()),
        array_agg(c.name) FILTER (WHERE c.kind = 'queue')
    INTO wanted, apart FROM :schema.controls c WHERE c.namespace = lanes_apart.namespace AND c.kind <> 'key'
      AND (c.kind <> 'queue' OR queues IS NULL OR c.name = ANY (queues));
    IF wanted THEN
        RETURN;
    END IF;
    SELECT bool_or(COALESCE(l.back OR l.ahead, l.back)), json_agg(json_build_array(l.queue, l.priority, l.returns,
            CASE WHEN l.upto < 9223372036854775807 THEN l.upto ELSE l.last_seq END)) FILTER (WHERE l.said)
    INTO wanted, ends FROM (
        SELECT k.*, (SELECT true FROM :schema.jobs j WHERE j.namespace = lanes_apart.namespace AND j.queue = k.queue AND j.priority = k.priority
                AND j.seq < 0 ORDER BY j.seq LIMIT 1) IS NOT NULL
            OR (SELECT true FROM :schema.jobs j WHERE j.namespace = lanes_apart.namespace AND j.gate = 'back ' || k.queue AND j.priority = k.priority
                ORDER BY j.place LIMIT 1) IS NOT NULL AS back,
            CASE WHEN k.said THEN (SELECT true FROM :schema.jobs j WHERE j.namespace = lanes_apart.namespace AND j.queue = k.queue
                AND j.priority = k.priority AND j.seq > k.cursor AND j.seq <= k.upto AND j.worker = :schema.nobody()
                AND (lanes_apart.tasks IS NULL OR j.task = ANY (lanes_apart.tasks)) AND j.deadline > statement_timestamp()
                ORDER BY j.seq LIMIT 1) IS NOT NULL END AS ahead,
            CASE WHEN k.said THEN COALESCE((SELECT j.seq FROM :schema.jobs j WHERE j.namespace = lanes_apart.namespace AND j.queue = k.queue
                AND j.priority = k.priority AND j.seq > k.cursor ORDER BY j.seq DESC LIMIT 1), k.cursor) END AS last_seq
        FROM (SELECT n.*, COALESCE(n.queue = ANY (apart), false) AS said,
                  (SELECT true FROM :schema.lanes b WHERE b.namespace = lanes_apart.namespace AND b.queue = n.queue AND b.priority = n.priority
                   AND b.back LIMIT 1) AS returned
              FROM :schema.known_lanes(namespace, lane_queues, lane_priorities, lane_cursors, lane_uptos) n
              WHERE queues IS NULL OR n.queue = ANY (queues)) k
        WHERE k.said OR k.returned) l;
    IF opened > 0 AND wanted IS NOT TRUE THEN  -- they are for others
        PERFORM :schema.wake(namespace);
    END IF;
END $$;

-- Parameters and answer are those of claim_jobs; opened: how many came out of gates for this claim.
CREATE OR REPLACE FUNCTION :schema.claim_governed(
    worker uuid, claim bigint, n integer, starting integer, tasks text[], queues text[], limits integer[], lane_queues text[],
    lane_priorities smallint[], lane_cursors bigint[], lane_uptos bigint[], last_queue text, promote boolean, due_from timestamptz,
    namespace text, bytes bigint, opened integer
) RETURNS TABLE (
    id uuid, task text, queue text, priority smallint, seq bigint, attempt integer, max_attempts smallint, started boolean,
    suspect boolean, run_at timestamptz, deadline timestamptz, input text, meta text, tags text[], returned boolean
) LANGUAGE plpgsql VOLATILE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
SET plan_cache_mode = force_generic_plan SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    found    record; rooms    record; lanes record; met record; taken record;
    slots    smallint[];
    served   bigint;
    aside    integer := 0;
    gates    text[];
    behind   text[];
    together integer := 64;
    reach    integer := 0;
    likely   bigint := 0;
BEGIN
    IF EXISTS (SELECT FROM :schema.controls c WHERE c.namespace = claim_governed.namespace AND c.kind = 'all' AND c.paused_until > statement_timestamp()) THEN
        n := 0;
    END IF;
    -- The lanes that may have something for the caller; of the others, at once, how far they are read. What comes later than this look is
    -- behind nobody's cursor: last_seq is where each lane ended then.
    SELECT array_agg(l.queue ORDER BY l.ord) FILTER (WHERE l.ready) AS queues, array_agg(l.priority ORDER BY l.ord) FILTER (WHERE l.ready) AS priorities,
        array_agg(l.returns ORDER BY l.ord) FILTER (WHERE l.ready) AS returns, array_agg(l.cursor ORDER BY l.ord) FILTER (WHERE l.ready) AS cursors,
        array_agg(l.upto ORDER BY l.ord) FILTER (WHERE l.ready) AS uptos, array_agg(l.last_seq ORDER BY l.ord) FILTER (WHERE l.ready) AS last_seqs,
        array_agg(l.ahead ORDER BY l.ord) FILTER (WHERE l.ready) AS aheads,
        json_agg(json_build_array(l.queue, l.priority, l.returns, CASE WHEN l.upto < 9223372036854775807 THEN l.upto ELSE l.last_seq END))
            FILTER (WHERE NOT l.ready) AS idle
    INTO found FROM (
        SELECT p.*, p.back OR p.ahead IS NOT NULL AS ready, row_number() OVER (ORDER BY p.priority, p.queue <= last_queue, p.queue) AS ord FROM (SELECT k.*, COALESCE((SELECT j.seq FROM :schema.jobs j WHERE j.namespace = claim_governed.namespace AND j.queue = k.queue
                AND j.priority = k.priority AND j.seq > k.cursor ORDER BY j.seq DESC LIMIT 1), k.cursor) AS last_seq,
            (SELECT true FROM :schema.jobs j WHERE j.namespace = claim_governed.namespace AND j.queue = k.queue AND j.priority = k.priority
                AND j.seq < 0 ORDER BY j.seq LIMIT 1) IS NOT NULL
            OR (SELECT true FROM :schema.jobs j WHERE j.namespace = claim_governed.namespace AND j.gate = 'back ' || k.queue AND j.priority = k.priority
                ORDER BY j.place LIMIT 1) IS NOT NULL AS back,
            (SELECT j.seq FROM :schema.jobs j WHERE j.namespace = claim_governed.namespace AND j.queue = k.queue AND j.priority = k.priority
                AND j.seq > k.cursor AND j.seq <= k.upto AND j.worker = :schema.nobody()
                AND (claim_governed.tasks IS NULL OR j.task = ANY (claim_governed.tasks)) AND j.deadline > statement_timestamp()
                ORDER BY j.seq LIMIT 1) AS ahead
        FROM :schema.known_lanes(namespace, lane_queues, lane_priorities, lane_cursors, lane_uptos) k
        WHERE queues IS NULL OR k.queue = ANY (queues)) p) l;
    SELECT '{}'::text[] AS queues, '{}'::integer[] AS rooms, '{}'::boolean[] AS counted, '{}'::text[] AS fairness, '{}'::interval[] AS ageing INTO rooms;
    -- Of many queues no more are looked at, and locked, than are likely to fill the claim; if they did not, then more.
    IF EXISTS (SELECT FROM :schema.controls c WHERE c.namespace = claim_governed.namespace AND c.kind = 'queue' AND c.ageing IS NOT NULL) THEN
        together := 1000000;  -- which of them goes first is not known before
    END IF;
    LOOP
    LOOP
        behind := ARRAY(SELECT DISTINCT u FROM unnest(found.queues[reach + 1 : reach + together]) u WHERE n > 0 AND u <> ALL (rooms.queues));
        reach := reach + together;
        SELECT rooms.queues || array_agg(r.queue) AS queues, rooms.rooms || array_agg(r.room) AS rooms, rooms.counted || array_agg(r.counted) AS counted,
            rooms.fairness || array_agg(r.fairness) AS fairness, rooms.ageing || array_agg(r.ageing) AS ageing INTO rooms
        FROM :schema.queue_rooms(namespace, behind) r;
        likely := likely + COALESCE((SELECT sum(LEAST(n, limits[array_position(queues, u)], rooms.rooms[array_position(rooms.queues, u)])) FROM unnest(behind) u), 0);
        EXIT WHEN likely >= n OR reach >= COALESCE(cardinality(found.queues), 0);
    END LOOP;
    -- The lanes, in the order in which they are served; first: where reading begins. In a fair queue that is for its turns to say; from
    -- time to time (promote) such a lane is read from its beginning: a claim that was undone leaves its jobs behind.
    WITH lane AS MATERIALIZED (
        SELECT l.*, LEAST(claim_governed.n, q.most, r.room) AS most, COALESCE(r.fairness, 'strict') AS fairness, l.priority - COALESCE(
            floor(GREATEST(0, extract(epoch FROM statement_timestamp() - LEAST(a.ahead_at, a.turn_at, a.back_at))) / extract(epoch FROM r.ageing)), 0) AS rank
        FROM unnest(found.queues[:reach], found.priorities[:reach], found.returns[:reach], found.cursors[:reach], found.uptos[:reach],
            found.last_seqs[:reach], found.aheads[:reach]) AS l (queue, priority, returns, cursor, upto, last_seq, ahead)
        CROSS JOIN LATERAL (SELECT limits[array_position(queues, l.queue)] AS most) q
        CROSS JOIN LATERAL (SELECT array_position(rooms.queues, l.queue) AS i) p
        CROSS JOIN LATERAL (SELECT rooms.rooms[p.i] AS room, rooms.fairness[p.i] AS fairness, rooms.ageing[p.i] AS ageing) r
        -- Since when those wait of which the claim may take the first: in line, in its turn, back from a gate.
        CROSS JOIN LATERAL (SELECT
            (SELECT j.run_at FROM :schema.jobs j
             WHERE r.ageing IS NOT NULL AND j.namespace = claim_governed.namespace AND j.queue = l.queue AND j.priority = l.priority
               AND j.seq = l.ahead LIMIT 1) AS ahead_at,
            (SELECT j.run_at FROM :schema.jobs j
             WHERE r.ageing IS NOT NULL AND j.namespace = claim_governed.namespace AND j.queue = l.queue AND j.priority = l.priority
               AND j.seq < 0 AND j.worker = :schema.nobody() AND (claim_governed.tasks IS NULL OR j.task = ANY (claim_governed.tasks))
               AND j.deadline > statement_timestamp() ORDER BY j.seq LIMIT 1) AS turn_at,
            (SELECT j.run_at FROM :schema.jobs j
             WHERE r.ageing IS NOT NULL AND j.namespace = claim_governed.namespace AND j.gate = 'back ' || l.queue AND j.priority = l.priority
               AND j.worker = :schema.nobody() AND (claim_governed.tasks IS NULL OR j.task = ANY (claim_governed.tasks))
               AND j.deadline > statement_timestamp() ORDER BY j.place LIMIT 1) AS back_at) a
    )
    SELECT array_agg(l.queue ORDER BY l.ord) AS queues, array_agg(l.priority ORDER BY l.ord) AS priorities, array_agg(l.returns ORDER BY l.ord) AS returns,
        array_agg(l.most ORDER BY l.ord) AS mosts, array_agg(l.fairness <> 'strict' ORDER BY l.ord) AS fair,
        array_agg(CASE l.fairness WHEN 'strict' THEN l.cursor ELSE :schema.first_turn() END ORDER BY l.ord) AS firsts,
        array_agg(CASE l.fairness WHEN 'strict' THEN l.upto ELSE 0 END ORDER BY l.ord) AS lasts,
        array_agg(l.fairness = 'weighted' ORDER BY l.ord) AS weighted, array_agg(l.last_seq ORDER BY l.ord) AS last_seqs,
        array_agg(l.ahead ORDER BY l.ord) AS aheads
    INTO lanes FROM (SELECT lane.*, row_number() OVER (ORDER BY lane.rank, lane.queue <= last_queue, lane.queue, lane.priority) AS ord FROM lane) l;
    FOR i IN 1 .. COALESCE(cardinality(lanes.queues), 0) LOOP
        IF lanes.fair[i] AND lanes.mosts[i] > 0 THEN
            served := :schema.arrange(namespace, lanes.queues[i], lanes.priorities[i], lanes.weighted[i]);
            IF NOT promote THEN
                lanes.firsts[i] := served - 1;
            END IF;
        END IF;
    END LOOP;
    -- Pick: what came back from gates first, then on from the cursor.
    WITH lane AS MATERIALIZED (
        SELECT * FROM unnest(lanes.queues, lanes.priorities, lanes.mosts, lanes.firsts, lanes.lasts, lanes.fair)
            WITH ORDINALITY AS l (queue, priority, most, first, last, fair, ord)
    ), back AS MATERIALIZED (
        SELECT lane.ord, lane.queue AS lane_queue, lane.most, j.* FROM (SELECT * FROM lane ORDER BY ord) lane CROSS JOIN LATERAL (
            SELECT j.id, j.seq, j.size, j.task, j.group_key, j.gate FROM :schema.jobs j
            WHERE j.namespace = claim_governed.namespace AND j.gate = 'back ' || lane.queue AND j.priority = lane.priority
              AND j.worker = :schema.nobody() AND (claim_governed.tasks IS NULL OR j.task = ANY (claim_governed.tasks))
              AND j.deadline > statement_timestamp()
            ORDER BY j.place LIMIT lane.most FOR UPDATE SKIP LOCKED
        ) j LIMIT claim_governed.n
    ), ahead AS MATERIALIZED (
        SELECT lane.ord, lane.queue AS lane_queue, lane.most, j.* FROM (SELECT * FROM lane ORDER BY ord) lane CROSS JOIN LATERAL (
            SELECT j.id, j.seq, j.size, j.task, j.group_key, j.gate FROM :schema.jobs j
            WHERE j.namespace = claim_governed.namespace AND j.queue = lane.queue AND j.priority = lane.priority
              AND j.seq > lane.first AND j.seq <= lane.last AND j.gate IS NULL
              AND j.worker = :schema.nobody() AND (claim_governed.tasks IS NULL OR j.task = ANY (claim_governed.tasks))
              AND j.deadline > statement_timestamp()
            ORDER BY j.seq LIMIT lane.most FOR UPDATE SKIP LOCKED
        ) j LIMIT claim_governed.n
    ), picked AS MATERIALIZED (
        SELECT p.* FROM (SELECT * FROM back UNION ALL SELECT * FROM ahead) p ORDER BY p.ord, p.gate IS NULL, p.seq LIMIT claim_governed.n
    ), fitting AS (
        -- A queue gives no more than its room, from all its lanes together; a claim takes no more than so many bytes.
        SELECT p.*, row_number() OVER (PARTITION BY p.lane_queue ORDER BY p.ord, p.seq) <= p.most
            AND sum(p.size) OVER (ORDER BY p.ord, p.seq ROWS UNBOUNDED PRECEDING) - p.size < bytes AS fits FROM picked p
    )
    SELECT array_agg(f.id ORDER BY f.ord, f.seq) AS ids, array_agg(f.ord ORDER BY f.ord, f.seq) AS ords, array_agg(f.fits ORDER BY f.ord, f.seq) AS fits,
        array_agg(f.seq ORDER BY f.ord, f.seq) AS seqs,
        array_agg((SELECT true FROM :schema.controls c WHERE c.namespace = claim_governed.namespace AND c.kind = 'task' AND c.name = f.task LIMIT 1) IS NOT NULL
            OR f.group_key IS NOT NULL AND (SELECT true FROM :schema.controls c WHERE c.namespace = claim_governed.namespace
                                            AND c.kind = 'group' AND c.name = f.group_key LIMIT 1) IS NOT NULL
            ORDER BY f.ord, f.seq) AS gated
    INTO met FROM fitting f;
    EXIT WHEN cardinality(met.ids) >= n OR n = 0 OR reach >= COALESCE(cardinality(found.queues), 0);
    together := together * 2;
    likely := COALESCE(cardinality(met.ids), 0);
    END LOOP;
    -- Admit: those that have something to pass besides their queue.
    IF true = ANY (met.gated) THEN
        slots := :schema.admit(namespace, ARRAY(SELECT u.id FROM unnest(met.ids, met.gated, met.fits) WITH ORDINALITY AS u (id, gated, fits, i)
                                                WHERE u.gated AND u.fits ORDER BY u.i));
        aside := (SELECT count(*) FROM unnest(slots) s WHERE s = -1);
        IF aside > 0 AND aside >= LEAST(20, cardinality(met.ids) / 2) THEN  -- a long row of them, perhaps: what follows of the same goes, too
            gates := ARRAY(SELECT DISTINCT j.gate FROM unnest(met.ids) AS u (id) JOIN :schema.jobs j ON j.id = ANY (ARRAY[u.id]) WHERE j.gate IS NOT NULL);
            PERFORM :schema.set_aside_more(namespace, lanes.queues[m.ord], lanes.priorities[m.ord], m.seq, lanes.lasts[m.ord], gates)
            FROM (SELECT u.ord, max(u.seq) AS seq FROM unnest(met.ords, met.seqs, met.gated) AS u (ord, seq, gated) WHERE u.gated GROUP BY 1) m;
        END IF;
    END IF;
    -- Take.
    WITH chosen AS MATERIALIZED (
        SELECT c.*, row_number() OVER (ORDER BY c.i) AS place FROM (
            SELECT u.id, u.ord, u.fits, u.i, CASE WHEN u.gated THEN slots[count(*) FILTER (WHERE u.gated AND u.fits) OVER (ORDER BY u.i)] ELSE 0 END AS bits
            FROM unnest(met.ids, met.ords, met.fits, met.gated) WITH ORDINALITY AS u (id, ord, fits, gated, i)) c
        WHERE c.fits AND c.bits >= 0
    ), claimed AS (
        UPDATE :schema.jobs j
        SET worker = claim_governed.worker, claim = claim_governed.claim, claimed_at = statement_timestamp(), attempt = j.attempt + 1,
            slots = j.slots | c.bits | CASE WHEN r.counted THEN 1 ELSE 0 END, gate = NULL, place = NULL,
            state = CASE WHEN NOT j.suspect AND c.place <= COALESCE(starting, claim_governed.n) THEN 'r' ELSE 'c' END::"char"
        FROM chosen c LEFT JOIN unnest(lanes.queues) WITH ORDINALITY AS l (queue, ord) ON l.ord = c.ord
        LEFT JOIN unnest(rooms.queues, rooms.counted) AS r (queue, counted) ON r.queue = l.queue
        WHERE j.id = ANY (ARRAY[c.id]) AND j.worker = :schema.nobody()
        RETURNING j.*, c.i
    ), recorded AS (
        INSERT INTO :schema.claims (worker, claim, claimed_at, first_seq, last_seq, priority, namespace, queue)
        SELECT claim_governed.worker, claim_governed.claim, statement_timestamp(), min(c.seq), max(c.seq), c.priority, claim_governed.namespace, c.queue
        FROM claimed c GROUP BY c.queue, c.priority
    )
    SELECT array_agg(c.id ORDER BY c.i) AS ids, array_agg(c.i ORDER BY c.i) AS places INTO taken FROM claimed c;
    IF opened > COALESCE(cardinality(taken.ids), 0) THEN  -- there are some for others
        PERFORM :schema.wake(namespace);
    END IF;
    -- What has gone through queues with a limit or a rate; how far fair lanes have been served: what came out of a gate before its queue was
    -- fair stands by its arrival, in no turn.
    PERFORM :schema.pass_scopes(namespace, array_agg('queue ' || g.queue), array_agg(g.gone), array_agg(r.counted)) FROM (
        SELECT lanes.queues[met.ords[p]] AS queue, count(*)::integer AS gone FROM unnest(taken.places) p GROUP BY 1) g
    JOIN unnest(rooms.queues, rooms.rooms, rooms.counted) AS r (queue, room, counted) ON r.queue = g.queue AND r.room IS NOT NULL HAVING count(*) > 0;
    PERFORM :schema.note_served(namespace, array_agg(g.queue), array_agg(g.priority), array_agg(g.seq)) FROM (
        SELECT lanes.queues[met.ords[p]] AS queue, lanes.priorities[met.ords[p]] AS priority, max(met.seqs[p]) AS seq
        FROM unnest(taken.places) p WHERE lanes.fair[met.ords[p]] AND met.seqs[p] < 0 GROUP BY 1, 2) g HAVING count(*) > 0;
    RETURN QUERY
    (SELECT j.id, j.task, j.queue, j.priority, j.seq, j.attempt - j.uncounted, j.max_attempts, j.state = 'r', j.suspect, j.run_at,
        NULLIF(j.deadline, 'infinity'), r.input::text, r.meta::text, r.tags,
        lanes.fair[met.ords[t.place]] OR met.seqs[t.place] <= lanes.firsts[met.ords[t.place]]
     FROM unnest(taken.ids, taken.places) WITH ORDINALITY AS t (id, place, i) JOIN :schema.jobs j ON j.id = ANY (ARRAY[t.id])
     LEFT JOIN LATERAL (SELECT r.input, r.meta, r.tags FROM :schema.run_requests r WHERE r.id = j.id OFFSET 0) r ON true
     ORDER BY t.i)
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, json_build_object(
        'xmin', pg_snapshot_xmin(pg_current_snapshot())::text::bigint, 'xid', pg_current_xact_id_if_assigned()::text::bigint,
        'newest', COALESCE(pg_sequence_last_value(:'schema.job_seq'::regclass), 0), 'governed', true,
        'more', aside > 0,  -- behind what was set aside there may be others
        'due', (SELECT extract(epoch FROM min(d.at) - clock_timestamp()) FROM (
                (SELECT j.run_at AS at FROM :schema.jobs j
                 WHERE j.namespace = claim_governed.namespace AND j.seq IS NULL AND j.gate IS NULL AND j.run_at >= COALESCE(due_from, '-infinity')
                 ORDER BY j.run_at LIMIT 1)
                UNION ALL (SELECT GREATEST(o.at, clock_timestamp() + interval '5 milliseconds') FROM :schema.openings o
                           WHERE o.namespace = claim_governed.namespace ORDER BY o.at LIMIT 1)) d),
        'lanes', (SELECT json_agg(l) FROM (SELECT l FROM json_array_elements(found.idle) l
            UNION ALL SELECT json_build_array(u.queue, u.priority, u.returns, NULL)
                FROM unnest(found.queues[reach + 1 :], found.priorities[reach + 1 :], found.returns[reach + 1 :]) AS u (queue, priority, returns)
            UNION ALL SELECT json_build_array(l.queue, l.priority, l.returns, CASE
                WHEN NOT l.fair AND l.most > 0 AND COALESCE(p.picked, 0) < l.most AND COALESCE(p.picked, 0) = COALESCE(p.taken, 0)
                    AND (l.ord < (SELECT max(o) FROM unnest(met.ords) o) OR COALESCE(cardinality(met.ids), 0) < claim_governed.n)
                THEN CASE WHEN l.last < 9223372036854775807 THEN COALESCE((
                        SELECT j.seq - 1 FROM :schema.jobs j
                        WHERE j.namespace = claim_governed.namespace AND j.queue = l.queue AND j.priority = l.priority
                          AND j.seq > l.first AND j.seq <= l.last AND j.worker = :schema.nobody()
                          AND (claim_governed.tasks IS NULL OR j.task = ANY (claim_governed.tasks)) AND j.deadline > statement_timestamp()
                        ORDER BY j.seq LIMIT 1), l.last)
                    ELSE l.last_seq END
                -- Filled before its end: read up to what was ready, so that what has gone is not read again by the next.
                WHEN NOT l.fair AND l.last = 9223372036854775807 THEN COALESCE(l.ahead - 1, l.last_seq) END)
            FROM unnest(lanes.queues, lanes.priorities, lanes.returns, lanes.mosts, lanes.firsts, lanes.lasts, lanes.fair, lanes.last_seqs, lanes.aheads)
                WITH ORDINALITY AS l (queue, priority, returns, most, first, last, fair, last_seq, ahead, ord)
            LEFT JOIN (SELECT o.ord, count(*) AS picked, count(*) FILTER (WHERE o.i = ANY (taken.places)) AS taken
                       FROM unnest(met.ords) WITH ORDINALITY AS o (ord, i) GROUP BY 1) p ON p.ord = l.ord) l))::text, NULL, NULL, NULL;
END $$;
