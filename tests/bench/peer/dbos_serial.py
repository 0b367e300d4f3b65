"""DBOS: a queue of 1,000 partitions, one of each at once."""

from adapters import load


class Adapter(type(load("dbos_pairs"))):
    note = "1,000 partitions, partition_concurrency=1, polling each 0.1 s"
    said = {"partition_concurrency": 1}
