-- Control: limits, rates, fairness, pauses. What is said of a queue, a task, a key or a group (controls); what stands of it now (slots,
-- openings, turns, groups). A job that may not run yet waits at a gate, outside the claim index. Theory: engine/gates.sql.
-- moment: expand

ALTER TABLE :schema.run_requests
    ADD COLUMN group_key text, ADD COLUMN concurrency_key text, ADD COLUMN key_limit smallint, ADD COLUMN keeps_slot boolean;

ALTER TABLE :schema.jobs
    ADD COLUMN slots smallint NOT NULL DEFAULT 0,
    ADD COLUMN keeps_slot boolean NOT NULL DEFAULT false,
    ADD COLUMN key_limit smallint,
    ADD COLUMN place bigint,
    ADD COLUMN group_key text,
    ADD COLUMN concurrency_key text,
    ADD COLUMN gate text;

-- PostgreSQL compiles the checks of a table for each statement anew, which is a tenth of what adding or claiming one job costs. Nobody but
-- the engine writes here, and the tests hold these rules against every row that it leaves (tests/support/invariants.py).
ALTER TABLE :schema.jobs DROP CONSTRAINT jobs_state_check, DROP CONSTRAINT jobs_check;
ALTER TABLE :schema.run_requests DROP CONSTRAINT run_requests_max_attempts_check;
ALTER TABLE :schema.attempts DROP CONSTRAINT attempts_outcome_check;
COMMENT ON TABLE :schema.jobs IS
    'One row an unfinished run. seq: place in its lane, null while scheduled or blocked. state: s scheduled, q queued, c claimed but not started, r running, t retrying, b blocked. worker and claim are the fence. gate: what a blocked job waits for, place: its turn there, which is its seq when it has been let through. slots: which limits count it (1 queue, 2 task, 4 key).';

-- Has a lane jobs that came back to a place which reading has passed? Such a row stands beside the lane's other one.
ALTER TABLE :schema.lanes ADD COLUMN back boolean NOT NULL DEFAULT false;
CREATE INDEX lanes_back ON :schema.lanes (namespace) WHERE back;

CREATE TABLE :schema.controls (
    namespace    text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('all', 'queue', 'task', 'key', 'group')),
    name         text NOT NULL,
    source       text NOT NULL CHECK (source IN ('run time', 'settings', 'code')),
    queue        text NOT NULL DEFAULT '',
    concurrency  integer CHECK (concurrency >= 0),
    rate         integer CHECK (rate > 0),
    period       interval CHECK (period > '0'),
    burst        integer CHECK (burst > 0),
    fairness     text CHECK (fairness IN ('strict', 'round_robin', 'weighted')),
    ageing       interval CHECK (ageing > '0'),
    weight       double precision CHECK (weight > 0),
    paused_until timestamptz,
    reason       text,
    changed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, kind, name, queue, source),
    CHECK ((rate IS NULL) = (period IS NULL)),
    CHECK ((kind = 'group') = (queue <> ''))
);
COMMENT ON TABLE :schema.controls IS
    'What holds for queues, tasks, concurrency keys and groups (of a queue), by who said it: run time wins over settings, settings over code, value by value. A null says nothing.';

CREATE TABLE :schema.slots (
    namespace text NOT NULL,
    scope     text NOT NULL,
    used      integer NOT NULL DEFAULT 0 CHECK (used >= 0),
    next_at   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (namespace, scope)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
COMMENT ON TABLE :schema.slots IS
    'One row a limited scope in use: slots taken, less those that openings give back; next_at: when its rate lets the next job through.';

CREATE TABLE :schema.openings (
    namespace text NOT NULL,
    scope     text NOT NULL,
    at        timestamptz NOT NULL,
    freed     integer NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX openings_at ON :schema.openings (namespace, at);
CREATE INDEX openings_scope ON :schema.openings (namespace, scope);
COMMENT ON TABLE :schema.openings IS
    'From its time on a scope may let jobs through: slots were freed, a rate has gathered, a pause has ended. Only ever inserted; the next claim takes it in.';

CREATE TABLE :schema.turns (
    namespace text NOT NULL,
    queue     text NOT NULL,
    priority  smallint NOT NULL,
    served    bigint NOT NULL,
    PRIMARY KEY (namespace, queue, priority)
) WITH (fillfactor = 50);
COMMENT ON TABLE :schema.turns IS 'One row a lane of a fair queue: the virtual time up to which its groups have been served.';

CREATE TABLE :schema.groups (
    namespace text NOT NULL,
    queue     text NOT NULL,
    priority  smallint NOT NULL,
    group_key text NOT NULL,
    tag       bigint NOT NULL,
    PRIMARY KEY (namespace, queue, priority, group_key)
) WITH (fillfactor = 50);
CREATE INDEX groups_tag ON :schema.groups (namespace, queue, priority, tag);
COMMENT ON TABLE :schema.groups IS 'The virtual time of the last job of a group in its lane: its next one comes after it.';
