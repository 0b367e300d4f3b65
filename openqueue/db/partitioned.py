"""Indexes of tables that are partitioned and in use: built one partition after the other, beside the work.

PostgreSQL cannot build the index of a partitioned table concurrently. A migration outside transactions that
says ``CREATE INDEX IF NOT EXISTS … ON ONLY :schema.attempts …`` gets it of the table alone, for an instant;
then the same index of each partition that has none, CONCURRENTLY, attached when it is there. What was
interrupted goes on with the partitions that are left. A partition made meanwhile gets the index by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from openqueue.db.quoting import quote_ident
from openqueue.db.statements import Statements, render

__all__ = ["NO_PARTITIONS", "Partitions", "for_partitions"]

_ON_ONLY = re.compile(
    r"(?P<what>CREATE (?:UNIQUE )?INDEX) IF NOT EXISTS (?P<index>\w+)"
    r" ON ONLY :schema\.(?P<table>\w+)(?P<how>.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions of tables, as (table, partition), and what is indexed of them: (index, partition)."""

    there: tuple[tuple[str, str], ...] = ()
    indexed: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, rows: Iterable[Any]) -> Partitions:
        """From the rows of `migrator_indexed_partitions`."""
        known = [(row["table"], row["partition"], row["index"]) for row in rows]
        return cls(
            tuple((table, partition) for table, partition, index in known if index is None),
            frozenset((index, partition) for _, partition, index in known if index is not None),
        )


NO_PARTITIONS: Final = Partitions()


def for_partitions(own: Statements, piece: str, partitions: Partitions) -> Iterator[str]:
    """What follows a statement (not rendered yet) that makes an index of a partitioned table alone."""
    found = _ON_ONLY.search(piece)
    if found is None:
        return
    index, table = found["index"], found["table"]
    for parent, partition in partitions.there:
        if parent != table or (index, partition) in partitions.indexed:
            continue
        part = quote_ident(f"{partition}_{index.removeprefix(f'{table}_')}")
        yield render(
            f"{found['what']} CONCURRENTLY IF NOT EXISTS {part}"
            f" ON :schema.{quote_ident(partition)}{found['how']}",
            own.schema,
        )
        attach = own["migrator_attach_index"].replace('"the index"', quote_ident(index))
        yield attach.replace('"its part"', part)
