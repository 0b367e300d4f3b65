"""The command line, called in this process or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import openqueue
from openqueue.cli.main import main
from tests.support.eventually import PATIENCE

__all__ = ["TASKS", "Answer", "Command"]

TASKS = '''
import asyncio

from openqueue import Context, GiveUp, task


@task(queue="mail", tags=["post"], max_attempts=3)
async def send(to: str, subject: str = "Hello", *, ctx: Context) -> str:
    """Send a mail.

    In two paragraphs.
    """
    ctx.log.info("sending", to=to)
    ctx.progress({"sent": 1})
    return f"sent to {to}"


@task
def fail(why: str) -> None:
    raise GiveUp(why)


@task
async def wait(seconds: float = 60.0) -> None:
    await asyncio.sleep(seconds)
'''
"""Tasks of a project, as `tasks/post.py`: post.send, post.fail, post.wait."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed, as the one JSON document that it is."""
        assert self.out, self.err
        return json.loads(self.out)


class Command:
    """`openqueue`, called in a project directory; `url` is the database of all calls."""

    def __init__(self, project: Path, url: str | None, capsys: pytest.CaptureFixture[str]) -> None:
        self.project = project
        self.url = url
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Answer:
        """Call it in this process."""
        self._capsys.readouterr()
        code = 0
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        said = self._capsys.readouterr()
        return Answer(code, said.out, said.err)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start it as a process of its own."""
        home = str(Path(openqueue.__file__).parent.parent)
        url = {"OPENQUEUE_DATABASE_URL": self.url} if self.url else {}
        return subprocess.Popen(
            [sys.executable, "-m", "openqueue", *arguments],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": home, **url, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **env: str) -> Answer:
        """Call it as a process of its own, to its end."""
        with self.start(*arguments, **env) as process:
            try:
                out, err = process.communicate(timeout=2 * PATIENCE)
            except BaseException:
                process.kill()  # or it and its streams would fail a test that comes later
                raise
        return Answer(process.returncode, out, err)

    def work(self) -> None:
        """Let a worker run all that is ready."""
        answer = self.run("worker", "--once", "--log-format", "console")
        assert answer.code == 0, answer.err

    def add_tasks(self) -> None:
        """Give the project its tasks."""
        (self.project / "tasks").mkdir()
        (self.project / "tasks" / "post.py").write_text(TASKS)
