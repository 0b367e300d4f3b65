"""The archive as Parquet: made from the JSON lines that are on the disk already, some thousand at a time.

A Parquet file can be read once its end is written, not before; so it is never all that there is of a run.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Final

from openqueue.errors import InvalidOption

__all__ = ["check_parquet", "write_parquet"]

ROWS: Final = 5_000
"""Runs in a row group: what is kept in memory of the file."""

TEXTS: Final = ("id", "namespace", "task", "queue", "status", "key", "worker")
NUMBERS: Final = ("priority", "attempt", "max_attempts")
TIMES: Final = ("created_at", "run_at", "started_at", "finished_at", "deadline")
JSONS: Final = ("input", "output", "error", "progress", "meta", "attempts", "events")
"""Columns with text that is JSON: what is in them has no schema."""


def check_parquet(path: Path) -> None:
    """Raise InvalidOption, with the remedies, where Parquet cannot be written."""
    if find_spec("pyarrow") is None:
        raise InvalidOption(
            f"archive: {str(path)!r} would be Parquet, and pyarrow is not installed. Install it"
            " (pip install 'openqueue[parquet]'), or name the archive ….jsonl.gz.",
            option="archive",
        )


def write_parquet(lines: Path, path: Path) -> None:
    """Write the runs of a file of JSON lines (gzipped) as Parquet; when this returns, it is on the disk."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(pa)
    with (
        gzip.open(lines, "rt", encoding="utf-8") as source,
        path.open("wb") as target,
    ):
        with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
            for rows in _groups(map(_row, source)):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        target.flush()
        os.fsync(target.fileno())


def _schema(pa: Any) -> Any:
    text, moment = pa.string(), pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            *((name, text) for name in TEXTS),
            ("tags", pa.list_(text)),
            *((name, pa.int32()) for name in NUMBERS),
            *((name, moment) for name in TIMES),
            *((name, text) for name in JSONS),
        ]
    )


def _row(line: str) -> dict[str, Any]:
    """A run as the file has it. Pure."""
    run: dict[str, Any] = json.loads(line)
    for name in TIMES:
        run[name] = run[name] and datetime.fromisoformat(run[name])
    for name in JSONS:
        run[name] = None if run[name] is None else json.dumps(run[name], ensure_ascii=False)
    return run


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(rows, ROWS)):
        yield group
