"""A file for runs that are about to be removed: JSON lines, gzipped, on the disk before anything is deleted.

It is written under another name (`….partial`) until all is done. Each part is a gzip member of its own, and
forced to the disk: whatever ends the process, what was deleted can be read from it. One named `….parquet` is
made from the lines when they are complete.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from errno import EEXIST
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from openqueue.cluster.parquet import check_parquet, unfinished, write_parquet
from openqueue.errors import InvalidOption

__all__ = ["Archive"]


class Archive:
    """An archive that must not be there yet. It has its name once it is finished; as a context it is closed.

    Raises InvalidOption, naming `archive`, where the file is there or cannot be made, or is named as what it
    will not be. Without a line there is no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_parquet = path.suffix == ".parquet"
        self.partial = path.with_name(path.name + (".jsonl.gz" if self.is_parquet else "") + ".partial")
        self.lines = 0
        self._file: BinaryIO | None = None
        if path.suffix not in (".gz", ".parquet"):
            raise InvalidOption(
                f"archive: {str(path)!r} would be JSON lines, gzipped. Give a name that ends with .jsonl.gz,"
                " or with .parquet for Parquet.",
                option="archive",
            )
        for one in (path, self.partial, *([unfinished(path)] if self.is_parquet else [])):
            if one.exists():
                said = ": what an earlier one that was interrupted has removed" if one is self.partial else ""
                raise InvalidOption(
                    f"archive: {str(one)!r} is there already{said}. Give another name, or move it away.",
                    option="archive",
                )
        if not path.parent.is_dir():
            raise InvalidOption(f"archive: there is no directory {str(path.parent)!r}.", option="archive")
        if self.is_parquet:
            check_parquet(path)

    def add(self, lines: Iterable[str]) -> None:
        """Append these lines; when this returns they are on the disk."""
        try:
            self._append(lines)
        except OSError as error:
            raise InvalidOption(
                f"archive: {str(self.partial)!r} cannot be written: {error.strerror or error}."
                " What is not in it has not been removed.",
                option="archive",
            ) from error

    def _append(self, lines: Iterable[str]) -> None:
        if self._file is None:
            self._file = self.partial.open("xb")
            _sync_directory(self.path.parent)
        with gzip.GzipFile(fileobj=self._file, mode="wb", filename="") as member:
            for line in lines:
                member.write(line.encode() + b"\n")
                self.lines += 1
        self._file.flush()
        os.fsync(self._file.fileno())

    def mark(self) -> tuple[int, int]:
        """A place to come back to: what is added from here on may be taken back."""
        return (self._file.tell() if self._file is not None else 0, self.lines)

    def take_back(self, mark: tuple[int, int]) -> None:
        """What was added since then is not removed after all."""
        if self._file is None:
            return
        place, self.lines = mark
        self._file.truncate(place)
        self._file.seek(place)
        if place == 0:
            self._file.close()
            self._file = None
            self.partial.unlink()

    def finish(self) -> None:
        """Give it its name, now that all is in it; Parquet is written from the lines."""
        if self._file is None:
            return
        try:
            self._file.close()
            self._name_it()
        except Exception as error:  # of pyarrow, too: the runs are gone, so it is said where they are
            left = self.partial if self.partial.exists() else self.path
            raise InvalidOption(
                f"archive: {str(self.path)!r} cannot be written: {_reason(error)}. All that was removed"
                f" is in {str(left)!r}, as JSON lines, gzipped.",
                option="archive",
            ) from error

    def _name_it(self) -> None:
        if self.path.exists():  # since it was looked for at first
            raise FileExistsError(EEXIST, "it is there now", str(self.path))
        if self.is_parquet:
            write_parquet(self.partial, self.path)
            _sync_directory(self.path.parent)
            self.partial.unlink()
        else:
            self.partial.rename(self.path)
        _sync_directory(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _sync_directory(path: Path) -> None:
    """Force the directory's entries to the disk, where that is possible (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
