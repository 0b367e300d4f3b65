-- The trunk: what was asked (run_requests), what is unfinished (jobs), what happened (attempts, run_log),
-- and the small tables with which workers find each other and their work.
-- moment: expand

CREATE SEQUENCE :schema.job_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE :schema.job_seq IS 'Place in line: taken when a job becomes ready, never while it is scheduled.';

-- History. Insert-only, one partition a month by the time in the run's UUIDv7 (see engine/partitions.sql).

CREATE TABLE :schema.run_requests (
    id           uuid NOT NULL,
    run_at       timestamptz NOT NULL,
    deadline     timestamptz,
    priority     smallint NOT NULL,
    max_attempts smallint NOT NULL CHECK (max_attempts > 0),
    namespace    text NOT NULL,
    task         text NOT NULL,
    queue        text NOT NULL,
    key          text,
    input        jsonb NOT NULL,
    meta         jsonb,
    tags         text[],
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX run_requests_meta ON :schema.run_requests USING gin (meta jsonb_path_ops) WHERE meta IS NOT NULL;
CREATE INDEX run_requests_tags ON :schema.run_requests USING gin (tags) WHERE tags IS NOT NULL;
COMMENT ON TABLE :schema.run_requests IS 'One row a run: what was asked. Edited only while no attempt has started.';

CREATE TABLE :schema.attempts (
    run_id      uuid NOT NULL,
    worker      uuid,
    claim       bigint,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL,
    attempt     integer NOT NULL,
    counted     integer NOT NULL,
    final       boolean NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN
        ('completed', 'failed', 'cancelled', 'expired', 'snoozed', 'released', 'lost')),
    output      jsonb,
    error       jsonb,
    PRIMARY KEY (run_id, attempt)
) PARTITION BY RANGE (run_id);
CREATE INDEX attempts_unhappy ON :schema.attempts (outcome, finished_at DESC)
    WHERE final AND outcome <> 'completed';
COMMENT ON TABLE :schema.attempts IS
    'One row a finished attempt. attempt never restarts; counted is its number towards max_attempts; final marks the last of a run.';

CREATE SEQUENCE :schema.log_seq AS bigint CACHE 1;
CREATE TABLE :schema.run_log (
    run_id  uuid NOT NULL,
    n       bigint NOT NULL DEFAULT nextval(:'schema.log_seq'::regclass),
    at      timestamptz NOT NULL,
    attempt integer NOT NULL,
    kind    text NOT NULL CHECK (kind IN ('progress', 'log', 'event')),
    data    jsonb NOT NULL,
    PRIMARY KEY (run_id, n)
) PARTITION BY RANGE (run_id);
COMMENT ON TABLE :schema.run_log IS 'One row a progress patch, log line or custom event.';

-- The live table: unfinished runs only. No column that a claim changes is in an index or an index predicate,
-- and pages are left more than half empty, so that a claim is a HOT update.

CREATE TABLE :schema.jobs (
    id           uuid NOT NULL,
    worker       uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    claim        bigint NOT NULL DEFAULT 0,
    seq          bigint,
    run_at       timestamptz NOT NULL,
    claimed_at   timestamptz NOT NULL DEFAULT '-infinity',
    deadline     timestamptz NOT NULL DEFAULT 'infinity',
    attempt      integer NOT NULL DEFAULT 0,
    uncounted    integer NOT NULL DEFAULT 0,
    size         integer NOT NULL,
    priority     smallint NOT NULL,
    max_attempts smallint NOT NULL,
    rescues      smallint NOT NULL DEFAULT 0,
    state        "char" NOT NULL DEFAULT 'q' CHECK (state IN ('s', 'q', 'c', 'r', 't')),
    suspect      boolean NOT NULL DEFAULT false,
    cancelled    boolean NOT NULL DEFAULT false,
    awaited      boolean NOT NULL DEFAULT false,
    namespace    text NOT NULL,
    queue        text NOT NULL,
    task         text NOT NULL,
    key          text,
    PRIMARY KEY (id),
    CHECK ((seq IS NULL) = (state IN ('s', 't')))
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 200000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX jobs_ready ON :schema.jobs (namespace, queue, priority, seq) WHERE seq IS NOT NULL;
CREATE INDEX jobs_due ON :schema.jobs (namespace, run_at) WHERE seq IS NULL;
CREATE INDEX jobs_deadline ON :schema.jobs (namespace, deadline) WHERE deadline < 'infinity';
CREATE UNIQUE INDEX jobs_key ON :schema.jobs (namespace, task, key) WHERE key IS NOT NULL;
COMMENT ON TABLE :schema.jobs IS
    'One row an unfinished run. seq: place in its lane, null while scheduled. state: s scheduled, q queued, c claimed but not started, r running, t retrying. worker and claim are the fence.';

CREATE TABLE :schema.claims (
    worker     uuid NOT NULL,
    claim      bigint NOT NULL,
    claimed_at timestamptz NOT NULL,
    first_seq  bigint NOT NULL,
    last_seq   bigint NOT NULL,
    priority   smallint NOT NULL,
    namespace  text NOT NULL,
    queue      text NOT NULL,
    PRIMARY KEY (worker, claim, queue, priority)
);
COMMENT ON TABLE :schema.claims IS 'Claims in flight: where in which lane the jobs of a claim are. Rescue finds them by it.';

-- Duplicates are allowed and harmless: so the first enqueue of a lane never waits for another''s commit.
CREATE TABLE :schema.lanes (
    namespace text NOT NULL,
    queue     text NOT NULL,
    priority  smallint NOT NULL,
    returns   bigint NOT NULL DEFAULT 0
);
CREATE INDEX lanes_lookup ON :schema.lanes (namespace, queue, priority);
COMMENT ON TABLE :schema.lanes IS 'Lanes (queue, priority) in use. returns grows when a job comes back with its old seq.';

CREATE TABLE :schema.bells (
    worker    uuid NOT NULL,
    namespace text NOT NULL,
    queue     text NOT NULL,
    PRIMARY KEY (namespace, queue, worker)
);
COMMENT ON TABLE :schema.bells IS 'A row while a worker wants to be notified of new jobs in a queue; * stands for every queue.';

CREATE TABLE :schema.workers (
    id           uuid PRIMARY KEY,
    namespace    text NOT NULL,
    name         text NOT NULL,
    host         text NOT NULL,
    pid          integer NOT NULL,
    version      text NOT NULL,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'draining', 'stuck')),
    queues       text[],
    concurrency  integer NOT NULL,
    running      integer NOT NULL DEFAULT 0,
    started_at   timestamptz NOT NULL DEFAULT now(),
    beat_at      timestamptz NOT NULL DEFAULT now(),
    suspected_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE :schema.workers IS 'One row a live worker process.';

-- Beside workers, not in it: an open transaction that cancels a run must not hold up a worker's beats.
CREATE TABLE :schema.cancels (
    worker uuid NOT NULL,
    run_id uuid NOT NULL
);
CREATE INDEX cancels_worker ON :schema.cancels (worker);
COMMENT ON TABLE :schema.cancels IS 'Running runs that are to be cancelled, until they have ended: their worker is told with each beat.';

CREATE TABLE :schema.queues (
    namespace  text NOT NULL,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, name)
);
COMMENT ON TABLE :schema.queues IS 'Queues that workers have published tasks for.';

CREATE TABLE :schema.catalog (
    namespace    text NOT NULL,
    task         text NOT NULL,
    pool         text NOT NULL,
    queue        text NOT NULL,
    priority     smallint NOT NULL,
    max_attempts smallint NOT NULL,
    options      jsonb NOT NULL DEFAULT '{}',
    input_schema jsonb,
    description  text,
    version      text,
    seen_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, task, pool)
);
COMMENT ON TABLE :schema.catalog IS 'Tasks that workers know, with their defaults; pool tells groups of workers with different code apart.';
