-- transaction: none
-- Finding runs and acting on them: indexes of the history, and who did what by hand. What every job passes gains two BRIN indexes,
-- which cost it less than 1 % (a btree: 19 %); the others hold what ended unhappily, and runs with a key. ON ONLY: the partitions that there are
-- follow one by one, CONCURRENTLY (openqueue/db/partitioned.py).
-- moment: expand

CREATE INDEX IF NOT EXISTS attempts_times ON ONLY :schema.attempts USING brin
    (finished_at, worker uuid_bloom_ops (n_distinct_per_range = 64)) WITH (autosummarize = on, pages_per_range = 64);
CREATE INDEX IF NOT EXISTS attempts_ended ON ONLY :schema.attempts (outcome, run_id) WHERE final AND outcome <> 'completed';
CREATE INDEX IF NOT EXISTS attempts_finished ON ONLY :schema.attempts (outcome, finished_at, run_id) WHERE final AND outcome <> 'completed';
CREATE INDEX IF NOT EXISTS attempts_error ON ONLY :schema.attempts ((error ->> 'type'), run_id) WHERE final AND outcome <> 'completed';
CREATE INDEX IF NOT EXISTS run_requests_tasks ON ONLY :schema.run_requests USING brin
    (id, task text_bloom_ops (n_distinct_per_range = 64)) WITH (autosummarize = on, pages_per_range = 32);
CREATE INDEX IF NOT EXISTS run_requests_key ON ONLY :schema.run_requests (key, id) WHERE key IS NOT NULL;
DROP INDEX IF EXISTS :schema.attempts_unhappy;

CREATE TABLE IF NOT EXISTS :schema.audit (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    namespace text NOT NULL,
    action    text NOT NULL,
    actor     text NOT NULL,
    reason    text,
    runs      uuid[] NOT NULL,
    details   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS audit_runs ON :schema.audit USING gin (runs);
COMMENT ON TABLE :schema.audit IS
    'One row a call by which somebody acted on runs: who (actor), why (reason), what (action, details), and the runs to which it was done. Only ever inserted.';
