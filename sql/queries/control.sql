-- Control: what is said of queues, tasks, concurrency keys and groups, and what holds.

-- name: set_controls
-- All or none: $1 namespace · $2 kinds · $3 names · $4 queues (of groups) · $5 changes · $6 seconds from now until a pause ends
SELECT CASE WHEN u.pause IS NULL AND u.change::jsonb ->> 'paused_until' IS NULL
    THEN :schema.set_control(u.kind, u.name, u.change::jsonb, u.queue, $1::text)
    ELSE :schema.set_pause(u.kind, u.name, u.queue, COALESCE(clock_timestamp() + u.pause * interval '1 second',
        (u.change::jsonb ->> 'paused_until')::timestamptz), u.change::jsonb ->> 'reason', $1::text) END
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::float8[]) AS u (kind, name, queue, change, pause);

-- name: publish_controls
-- $1 namespace · $2 source · $3 items · $4 scopes that this source speaks for
SELECT :schema.publish_controls($1::text, $2::text, $3::text::jsonb, $4::text[]);

-- name: controls_in_force
-- What holds in namespace $1, and who said it; only of kind $2 and name $3, if they are given. used: slots taken of a limit.
SELECT c.kind, c.name, NULLIF(c.queue, '') AS queue, c.concurrency, c.concurrency_from, c.rate,
    extract(epoch FROM c.period)::float8 AS period, c.burst, c.rate_from, c.fairness, c.fairness_from,
    extract(epoch FROM c.ageing)::float8 AS ageing, c.ageing_from, c.weight, c.weight_from,
    c.paused_until IS NOT NULL AS paused, NULLIF(c.paused_until, 'infinity') AS paused_until, c.reason,
    (SELECT GREATEST(0, s.used - COALESCE((SELECT sum(o.freed) FROM :schema.openings o
        WHERE o.namespace = s.namespace AND o.scope = s.scope), 0))::integer
     FROM :schema.slots s WHERE s.namespace = c.namespace AND s.scope = :schema.scope_of(c.kind, c.name, c.queue)) AS used
FROM :schema.controls_in_force c
WHERE c.namespace = $1::text AND ($2::text IS NULL OR c.kind = $2::text) AND ($3::text IS NULL OR c.name = $3::text)
  AND (c.paused_until IS NOT NULL OR c.concurrency IS NOT NULL OR c.rate IS NOT NULL OR c.fairness IS NOT NULL
       OR c.ageing IS NOT NULL OR c.weight IS NOT NULL)
ORDER BY c.kind, c.queue, c.name;

-- name: controls_said
-- All that was said of kind $2 and name $3 in namespace $1, also what does not hold as somebody else goes before.
SELECT c.source, c.concurrency, c.rate, extract(epoch FROM c.period)::float8 AS period, c.burst, c.fairness,
    extract(epoch FROM c.ageing)::float8 AS ageing
FROM :schema.controls c WHERE c.namespace = $1::text AND c.kind = $2::text AND c.name = $3::text ORDER BY c.source;

-- name: known_queues
-- Queues of tasks that workers have published, those that have lanes, and those of the runs that come next; however many wait.
SELECT q.name AS queue FROM :schema.queues q WHERE q.namespace = $1::text
UNION SELECT l.queue FROM :schema.lanes l WHERE l.namespace = $1::text
UNION SELECT d.queue FROM :schema.queue_depths($1::text, 1000) d ORDER BY queue;

-- name: known_keys
-- Concurrency keys of namespace $1 that hold slots, at whose gate runs wait, or of which something is said at run time.
SELECT k.key,
    COALESCE((SELECT GREATEST(0, s.used - COALESCE((SELECT sum(o.freed) FROM :schema.openings o
        WHERE o.namespace = s.namespace AND o.scope = s.scope), 0))::integer
     FROM :schema.slots s WHERE s.namespace = $1::text AND s.scope = 'key ' || k.key), 0) AS used,
    (SELECT count(*) FROM :schema.jobs j WHERE j.namespace = $1::text AND j.gate = 'key ' || k.key) AS blocked
FROM (SELECT substr(s.scope, 5) AS key FROM :schema.slots s WHERE s.namespace = $1::text AND starts_with(s.scope, 'key ')
      UNION SELECT c.name FROM :schema.controls c WHERE c.namespace = $1::text AND c.kind = 'key'
      UNION SELECT substr(j.gate, 5) FROM :schema.jobs j WHERE j.namespace = $1::text AND j.gate IS NOT NULL AND starts_with(j.gate, 'key ')) k
ORDER BY k.key;

-- name: task_stats
-- Unfinished runs of task $2 in namespace $1, by state, among 200,000 (capped: there are more).
SELECT count(*) FILTER (WHERE j.mine AND j.state IN ('q', 'c')) AS queued, count(*) FILTER (WHERE j.mine AND j.state = 'b') AS blocked,
    count(*) FILTER (WHERE j.mine AND j.state = 'r') AS running, count(*) FILTER (WHERE j.mine AND j.state = 't') AS retrying,
    count(*) FILTER (WHERE j.mine AND j.state = 's') AS scheduled, count(*) > 200000 AS capped
FROM (SELECT j.state, j.task = $2::text AS mine FROM :schema.jobs j WHERE j.namespace = $1::text LIMIT 200001) j;
