"""DBOS: a queue of 1,000 a second."""

from adapters import dbos, load


class Adapter(type(load("dbos_pairs"))):
    note = "limiter={'limit': 1000, 'period': 1}, polling each 0.1 s"
    N = {"drain": 10_000}
    said = {"limiter": {"limit": 1_000, "period": 1.0}}
    enqueue_bulk = dbos.Adapter.enqueue_bulk
