"""A PostgreSQL in a temporary directory, and worker processes; both are gone when the block ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from openqueue.dev.embedded import EmbeddedPostgres

EXAMPLES = Path(__file__).parent.parent


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database."""
    with EmbeddedPostgres.temporary() as server:
        yield server.dsn()


def forget_settings() -> None:
    """Nothing that the environment says about openqueue is meant for the demo."""
    for name in [name for name in os.environ if name.startswith("OPENQUEUE_") and name != "OPENQUEUE_PG_BIN"]:
        del os.environ[name]


def openqueue(dsn: str, *command: str) -> None:
    """Run a command of openqueue to its end; what it says is shown only when it fails."""
    line = [sys.executable, "-m", "openqueue", *command]
    done = subprocess.run(line, env=_environment(dsn), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"openqueue {' '.join(command)} failed:\n{done.stderr or done.stdout}")


@contextmanager
def workers(dsn: str, count: int) -> Iterator[Workers]:
    """Processes of `openqueue worker`. They are told to stop, and given the time, however the block ends."""
    with TemporaryDirectory(prefix="openqueue-demo-") as logs:
        started = Workers(dsn, Path(logs), count)
        try:
            yield started
        finally:
            started.stop()


class Workers:
    """Some worker processes with a log file each."""

    def __init__(self, dsn: str, logs: Path, count: int) -> None:
        self._logs = [logs / f"worker-{number + 1}.log" for number in range(count)]
        self._processes = [_start(dsn, log) for log in self._logs]

    def check(self) -> None:
        """End the program, with the log, if one of them has ended or ended badly."""
        for process, log in zip(self._processes, self._logs, strict=True):
            if process.poll() is not None and (process.stdin or process.returncode):
                last = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
                raise SystemExit(f"{log.stem} ended with exit code {process.returncode}:\n{last}")

    def stop(self) -> None:
        """Let them finish what runs (the setting `grace`), and end those that do not."""
        for process in self._processes:
            if process.stdin:
                process.stdin.close()
                process.stdin = None
        deadline = time.monotonic() + 15
        for process in self._processes:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(dsn: str, log: Path) -> subprocess.Popen[bytes]:
    # A worker stops on SIGTERM. With the last option it also does when its standard input ends, so that it is
    # not left behind should we be killed.
    line = [sys.executable, "-m", "openqueue", "worker", "--name", log.stem, "--stop-with-stdin"]
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603
            line,
            env=_environment(dsn) | {"OPENQUEUE_THREADS": "4", "OPENQUEUE_GRACE": "5s"},
            cwd=EXAMPLES,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us; they are told afterwards
        )


def _environment(dsn: str) -> dict[str, str]:
    return os.environ | {"OPENQUEUE_DATABASE_URL": dsn}
