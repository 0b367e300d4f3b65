"""Documents that are true: their fenced blocks are taken out, run, and compared with what they promise.

Ids, times and durations differ from run to run: they are compared as such. An id that a document shows stands
for the one that was seen in its place, also in later commands.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.eventually import eventually

__all__ = ["Block", "Transcript", "alike", "blocks", "environment", "running", "start", "tables"]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_VARYING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "(moment)"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "(time)"),
    (re.compile(r"(?<![\w.])(?:\d+(?:\.\d+)?(?:µs|ms|s|m|h))+\b"), "(took)"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line where it begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that it is: named by a comment in its first line."""
        found = re.match(r"# (\S+\.\w+)\n", self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The commands behind `$ `, each with what is shown below it."""
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)
        assert not parts[0], f"line {self.line}: output without a command"
        return list(zip(parts[1::2], parts[2::2], strict=True))


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a Markdown document, in order."""
    text = document.read_text()
    return [Block(one[1], one[2], text.count("\n", 0, one.start()) + 1) for one in _FENCE.finditer(text)]


def tables(document: Path) -> dict[str, list[list[str]]]:
    """The rows of each table, by the title of its first column; code marks are left out."""
    found: dict[str, list[list[str]]] = {}
    for table in re.findall(r"(?:^\|.*\|\n)+", document.read_text(), re.MULTILINE):
        title, _, *rows = [
            [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
            for line in table.splitlines()
        ]
        found[title[0]] = rows
    return found


def alike(text: str) -> list[str]:
    """The lines of an output without what differs from run to run, and without blank ones."""
    for pattern, word in (*_VARYING, (_ID, "(id)")):
        text = pattern.sub(word, text)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def environment(**more: str) -> dict[str, str]:
    """Ours without settings of openqueue; `openqueue` and `python` are those that run this."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENQUEUE_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', '')}"
    return {**clean, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}


@asynccontextmanager
async def running(
    line: list[str], directory: Path, environ: Mapping[str, str], *, until: str
) -> AsyncIterator[None]:
    """A process beside the body, which begins once it has said `until`. Ctrl-C ends it, in good order."""
    log = directory.parent / f"{directory.name}.log"
    process = start(line, directory, environ, log)
    try:
        await eventually(lambda: process.poll() is not None or until in log.read_text(), what=until)
        assert process.poll() is None, log.read_text()
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=240) in (0, 130), log.read_text()
    finally:
        process.kill()
        process.wait()


def start(line: list[str], directory: Path, environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that writes to a log file."""
    with log.open("wb") as output:
        return subprocess.Popen(
            line, cwd=directory, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


class Transcript:
    """Runs commands in a directory and compares what they print."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.directory = directory
        self.environment = environment(**environ)
        self._ids: dict[str, str] = {}

    def write(self, block: Block) -> None:
        """Write a block to the file that it names."""
        assert block.file, f"line {block.line}: the block does not say which file it is"
        file = self.directory / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text)

    def real(self, text: str) -> str:
        """The text with the ids that were seen in the place of those that the document shows."""
        return _ID.sub(lambda found: self._ids.get(found[0], found[0]), text)

    def call(self, command: str) -> str:
        """Run a command, which must succeed; what it printed, on either output."""
        done = subprocess.run(
            ["/bin/sh", "-c", self.real(command)],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        return done.stdout

    def run(self, command: str, expected: str) -> None:
        """Run a command; it must succeed and print what is expected."""
        printed = self.call(command)
        assert alike(printed) == alike(expected), f"$ {command}\n{printed}"
        self._ids.update(zip(_ID.findall(expected), _ID.findall(printed), strict=True))
