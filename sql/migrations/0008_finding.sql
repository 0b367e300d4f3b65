-- Finding runs and acting on them: indexes of the history, and who did what by hand. What every job passes gains one BRIN index, which
-- costs a finish 2 % (a btree: 19 %); the others hold what ended unhappily, and runs with a key.
-- moment: expand

CREATE INDEX attempts_times ON :schema.attempts USING brin
    (finished_at, worker uuid_bloom_ops (n_distinct_per_range = 64)) WITH (autosummarize = on, pages_per_range = 64);
CREATE INDEX attempts_ended ON :schema.attempts (outcome, run_id) WHERE final AND outcome <> 'completed';
CREATE INDEX attempts_finished ON :schema.attempts (outcome, finished_at, run_id) WHERE final AND outcome <> 'completed';
CREATE INDEX attempts_error ON :schema.attempts ((error ->> 'type'), run_id) WHERE final AND outcome <> 'completed';
CREATE INDEX run_requests_key ON :schema.run_requests (key, id) WHERE key IS NOT NULL;
DROP INDEX :schema.attempts_unhappy;

CREATE TABLE :schema.audit (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    namespace text NOT NULL,
    action    text NOT NULL,
    actor     text NOT NULL,
    reason    text,
    runs      uuid[] NOT NULL,
    details   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_runs ON :schema.audit USING gin (runs);
COMMENT ON TABLE :schema.audit IS
    'One row a call by which somebody acted on runs: who (actor), why (reason), what (action, details), and the runs to which it was done. Only ever inserted.';
