"""graphile-worker: 1,000 named queues, each serial."""

from adapters import graphile


class Adapter(graphile.Adapter):
    note = "1,000 named queues, each serial; as the plain adapter else"
    configs = (24,)
