-- Schedules: what is due when (schedules), what was made of each time (schedule_ticks), and who sees to it (leader).
-- moment: expand

CREATE TABLE :schema.leader (
    namespace  text PRIMARY KEY,
    holder     uuid NOT NULL,
    pid        integer,
    since      timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE :schema.leader IS
    'One row a namespace: the worker that leads it, the session that holds its lock (null: it leads by this row alone), and until when unless it renews.';

CREATE SEQUENCE :schema.schedule_revision AS bigint CACHE 1;
CREATE TABLE :schema.schedules (
    namespace    text NOT NULL,
    key          text NOT NULL,
    task         text NOT NULL,
    input        jsonb NOT NULL DEFAULT '{}',
    cron         text,
    every        interval CHECK (every > '0'),
    timezone     text NOT NULL DEFAULT 'UTC',
    start_at     timestamptz,
    end_at       timestamptz,
    max_runs     bigint CHECK (max_runs > 0),
    catch_up     integer NOT NULL DEFAULT 0 CHECK (catch_up >= 0),
    overlap      text NOT NULL DEFAULT 'allow' CHECK (overlap IN ('allow', 'skip', 'queue', 'cancel_previous')),
    jitter       interval NOT NULL DEFAULT '0' CHECK (jitter >= '0'),
    queue        text,
    priority     smallint,
    max_attempts smallint,
    deadline     interval CHECK (deadline >= '0'),
    meta         jsonb,
    tags         text[],
    source       text NOT NULL DEFAULT 'dynamic' CHECK (source IN ('dynamic', 'declarative')),
    owner        text,
    seen_at      timestamptz,
    paused_until timestamptz,
    pause_reason text,
    since_at     timestamptz NOT NULL,
    cursor_at    timestamptz,
    fired        bigint NOT NULL DEFAULT 0,
    next_at      timestamptz,
    waiting      jsonb,
    invalid      text,
    last_error   text,
    failed_at    timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    revision     bigint NOT NULL DEFAULT nextval(:'schema.schedule_revision'::regclass),
    PRIMARY KEY (namespace, key),
    CHECK ((cron IS NULL) <> (every IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE :schema.schedules IS
    'One row a schedule: its rule, what each tick enqueues, and where it stands. since_at: when it was made, its rule edited, or it was resumed; it has missed nothing before. cursor_at: the last time of it that was decided. next_at: the next one, as the leader has computed it. fired: runs made on time. waiting: the tick that waits until the run before it has ended (overlap queue). invalid: why nothing can be computed of it. revision: changes with each edit. Declarative ones are owned by the code; seen_at: when a worker last published them.';

-- No foreign key: what a schedule did outlives it.
CREATE TABLE :schema.schedule_ticks (
    namespace    text NOT NULL,
    schedule     text NOT NULL,
    at           timestamptz NOT NULL,
    fired_at     timestamptz NOT NULL,
    run_id       uuid,
    number       bigint,
    catch_up     boolean NOT NULL DEFAULT false,
    backfill     boolean NOT NULL DEFAULT false,
    manual       boolean NOT NULL DEFAULT false,
    skipped      text,
    error        text,
    missed       bigint,
    missed_from  timestamptz,
    PRIMARY KEY (namespace, schedule, at),
    CHECK ((run_id IS NULL) = (skipped IS NOT NULL))
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
CREATE INDEX schedule_ticks_runs ON :schema.schedule_ticks (namespace, schedule, run_id DESC) WHERE run_id IS NOT NULL;
CREATE INDEX schedule_ticks_fired ON :schema.schedule_ticks USING brin (fired_at);
COMMENT ON TABLE :schema.schedule_ticks IS
    'One row a time of a schedule that was decided: at, when, and the run, or why there is none (skipped: missed, overlap, failed; error says more). missed: how many ticks, from missed_from to at, one row of skipped ones stands for. Only ever inserted.';
