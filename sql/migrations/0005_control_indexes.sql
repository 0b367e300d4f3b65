-- transaction: none
-- The index of jobs at gates. jobs_waiting replaces jobs_due: what is blocked has no time to come.
-- moment: expand

CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_waiting ON :schema.jobs (namespace, run_at) WHERE seq IS NULL AND gate IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS :schema.jobs_due;
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_gate ON :schema.jobs (namespace, gate, priority, place) WHERE gate IS NOT NULL;
