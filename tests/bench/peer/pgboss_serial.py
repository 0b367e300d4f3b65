"""pg-boss: 1,000 groups, one of each at once."""

from adapters import pgboss


class Adapter(pgboss.Adapter):
    note = "1,000 groups, one of each at once (groupConcurrency); as the plain adapter else"
    configs = ([1000, 2],)
    N = {"drain": 20_000}
