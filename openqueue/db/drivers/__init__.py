"""The drivers that a caller's connection may come from: one file each, found by `db.connections`.

A file knows how its driver runs one statement in the transaction that is open on the connection, how it
writes parameters, and what its own errors mean. None of them imports its driver before a connection of it is
given: it is loaded by then, and whoever does not use it need not have it.
"""

__all__: list[str] = []
