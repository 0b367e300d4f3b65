"""The tasks of ../index_directory.py: what is done with a file, and with what became of all of them."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from openqueue import Context, GiveUp, task

IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)[\w.]*[ \t]+import|import[ \t]+(\w+))\b", re.MULTILINE)


@dataclass(frozen=True)
class File:
    """What is known of a file; `lines` is 0 for what is not text, `imports` are top-level modules."""

    path: str
    kind: str
    size: int
    sha256: str
    lines: int
    imports: list[str]


@dataclass(frozen=True)
class Summary:
    """Counts of files and lines by kind, and how many files import a module."""

    files: dict[str, int]
    lines: dict[str, int]
    imports: dict[str, int]


class Busy(Exception):
    """The file could not be read just now (in truth: it could; the demo wants to show a retry)."""


def digest_of(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def is_busy_at_first(digest: str) -> bool:
    """One file in sixteen, always the same ones."""
    return digest.startswith("7")


@task(queue="files", max_attempts=3, backoff="1s", timeout="30s")
def index(ctx: Context, path: str) -> File:
    """Read a file. A plain function: it runs in a thread, because reading blocks."""
    file = Path(path)
    if not file.exists():
        raise GiveUp(f"there is no file {path}")  # no use in trying again
    content = file.read_bytes()
    digest = sha256(content).hexdigest()
    if is_busy_at_first(digest) and ctx.attempt == 1:
        raise Busy(f"{file.name} is busy")
    kind = _kind(file, content)
    if kind == "binary":
        ctx.log.info("not text: its lines are not counted", size=len(content))
    lines = 0 if kind == "binary" else len(content.splitlines())
    imports = _imports(content) if kind == "python" else []
    return File(path, kind, len(content), digest, lines, imports)


@task(queue="others")
async def is_unchanged(path: str, digest: str) -> bool:
    """Look at a file again, some time later."""
    return await asyncio.to_thread(digest_of, Path(path)) == digest


@task(queue="others")
def summarise(files: list[File]) -> Summary:
    """Count. The input is what other runs returned, validated again when this one starts."""
    kinds: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    imports: Counter[str] = Counter()
    for file in files:
        kinds[file.kind] += 1
        lines[file.kind] += file.lines
        imports.update(file.imports)
    return Summary(kinds, lines, imports)


@task(queue="others", timeout="5m")
async def watch(ctx: Context, directory: str) -> None:
    """Count the entries of a directory every second, until somebody cancels the run."""
    looks = 0
    while True:
        looks += 1
        ctx.progress({"looks": looks, "entries": await asyncio.to_thread(_count_entries, Path(directory))})
        await asyncio.sleep(1)


def _count_entries(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir())


def _kind(file: Path, content: bytes) -> str:
    if file.suffix == ".py":
        return "python"
    if b"\0" in content[:8192]:
        return "binary"
    return file.suffix.lower().removeprefix(".") or "other"


def _imports(source: bytes) -> list[str]:
    """The modules named by lines that look like imports."""
    return sorted({(one or other).decode() for one, other in IMPORT.findall(source)})
