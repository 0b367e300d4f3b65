"""pg-boss: 2 x 100,000 jobs of two full groups in front."""

from adapters import pgboss


class Adapter(pgboss.Adapter):
    note = "2 x 100,000 jobs of two full groups in front (groupConcurrency); as the plain adapter else"
    configs = ([1000, 2],)
    N = {"drain": 20_000}
    pending = (
        "SELECT count(*) FROM pgboss.job"
        " WHERE name = 'q' AND group_id IS NULL AND state NOT IN ('completed', 'cancelled', 'failed')"
    )
