"""The archive as Parquet: made from the JSON lines that are on the disk already, some thousand at a time.

A Parquet file can be read once its end is written, not before; so it is never all that there is of a run.
What is JSON in a run is kept as PostgreSQL wrote it, character by character: Python's numbers are others.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final

from openqueue.errors import InvalidOption

__all__ = ["check_parquet", "unfinished", "write_parquet"]

ROWS: Final = 5_000
LENGTH: Final = 8 * 2**20
"""Runs in a row group at most, and characters of their lines: what is kept in memory of the file."""

TEXTS: Final = ("id", "namespace", "task", "queue", "status", "key", "worker")
NUMBERS: Final = ("priority", "attempt", "max_attempts")
TIMES: Final = ("created_at", "run_at", "started_at", "finished_at", "deadline")
JSONS: Final = ("input", "output", "error", "progress", "meta", "attempts", "events")
"""Columns with text that is JSON: what is in them has no schema."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]|[^\s,:"\[\]{}]++')


def check_parquet(path: Path) -> None:
    """Raise InvalidOption, with the remedies, where Parquet cannot be written."""
    if find_spec("pyarrow") is None:
        raise InvalidOption(
            f"archive: {str(path)!r} would be Parquet, and pyarrow is not installed. Install it"
            " (pip install 'openqueue[parquet]'), or name the archive ….jsonl.gz.",
            option="archive",
        )


def unfinished(path: Path) -> Path:
    """The name that a Parquet file has until it is whole."""
    return path.with_name(path.name + ".unfinished")


def write_parquet(lines: Path, path: Path) -> None:
    """Write the runs of a file of JSON lines (gzipped) as Parquet; when this returns, it is on the disk.

    Raises FileExistsError where a file has its name until it is whole; whatever else it raises leaves none.
    """
    target = unfinished(path).open("xb")
    try:
        with target:
            _write(lines, target)
        unfinished(path).rename(path)
    except BaseException:
        unfinished(path).unlink()
        raise


def _write(lines: Path, target: BinaryIO) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(pa)
    with (
        gzip.open(lines, "rt", encoding="utf-8", newline="\n") as source,
        parquet.ParquetWriter(target, schema, compression="zstd") as writer,
    ):
        for group in _groups(source):
            writer.write_table(pa.Table.from_pylist(list(map(_row, group)), schema=schema))
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
    run: dict[str, Any] = {}
    for name, text in _members(line):
        run[name] = None if text == "null" else text if name in JSONS else json.loads(text)
    for name in TIMES:
        run[name] = run[name] and datetime.fromisoformat(run[name])
    return run


def _members(line: str) -> Iterator[tuple[str, str]]:
    """The members of an object, with the text of each value. Pure.

    Nothing in a value is read: it may be as deep, and its numbers as long, as PostgreSQL lets them.
    """
    name: str | None = None
    depth = begin = 0
    for token in _TOKEN.finditer(line, line.index("{") + 1):
        first = line[token.start()]
        if depth == 0:
            begin = token.start()
        depth += (first in "[{") - (first in "]}")
        if depth == 0 and name is not None:
            yield name, line[begin : token.end()]
            name = None
        elif depth == 0:
            name = json.loads(token[0])


def _groups(lines: Iterable[str]) -> Iterator[list[str]]:
    """These lines in parts, each no more than a row group. Pure."""
    group, length = list[str](), 0
    for line in lines:
        if group and (len(group) == ROWS or length + len(line) > LENGTH):
            yield group
            group, length = [], 0
        group.append(line)
        length += len(line)
    if group:
        yield group
