-- Idempotency keys: which run an enqueue with such a key has made, for as long as that is remembered.
-- moment: expand

CREATE TABLE :schema.idempotency (
    namespace text NOT NULL,
    task      text NOT NULL,
    key       text NOT NULL,
    run       uuid NOT NULL,
    expires   timestamptz NOT NULL,
    PRIMARY KEY (namespace, task, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idempotency_expires ON :schema.idempotency (expires);
COMMENT ON TABLE :schema.idempotency IS
    'One row an idempotency key: until it expires, an enqueue with it answers this run. Expired rows are replaced, or removed by the workers.';
