"""The one server of a place: is it there, start it, end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from openqueue.dev import guardian
from openqueue.dev.account import clean_environment
from openqueue.dev.binaries import Binaries
from openqueue.dev.datadir import prepare, server_pid
from openqueue.dev.locks import FileLock
from openqueue.dev.places import Place
from openqueue.errors import ConnectionFailed

__all__ = ["Server"]

DEFAULTS: Mapping[str, str] = {"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC"}


class Server:
    """The server of a place, seen from a process that may or may not have started it.

    All but `is_ready` must be called under the place's turn lock.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._guarded = FileLock(place.home / "server.lock")

    def is_ready(self) -> bool:
        """Tell whether it takes connections now."""
        if not self.place.is_ours() or not any(guardian.is_ready(data) for data in self._data_directories()):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.place.socket)) == 0

    def is_guarded(self) -> bool:
        """Tell whether a guardian looks after it, or is about to start it."""
        return not self._guarded.is_free()

    def launch(self, binaries: Binaries, settings: Mapping[str, str]) -> None:
        """Start the server under a new guardian; returns once it takes connections.

        Raises ConnectionFailed with what the server wrote.
        """
        data = self.place.data(binaries.major)
        prepare(data, binaries, self.place.account)
        self.place.make_sockets()
        answer = subprocess.run(
            [sys.executable, "-I", "-S", guardian.__file__],
            input=json.dumps(self._order(binaries, data, settings)).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            check=False,
        ).stdout.decode()
        if answer != "ready":
            raise ConnectionFailed(self._complaint(answer or "its guardian ended"))

    def wait_until_ready(self) -> bool:
        """Wait for a server that another process has started; False when its guardian has gone."""
        deadline = time.monotonic() + guardian.START_TIMEOUT
        while not self.is_ready():
            if not self.is_guarded():
                return False
            if time.monotonic() > deadline:
                raise ConnectionFailed(self._complaint("it is starting or stopping for too long"))
            time.sleep(0.005)
        return True

    def end(self) -> None:
        """Stop it, and return when it is down; with its guardian, or without when that was killed."""
        if self.is_guarded():
            guardian_pid = int(json.loads(self._guarded.path.read_text())["pid"])
            _signal(guardian_pid, signal.SIGTERM)
            self._guarded.wait_until_free(sum(patience for _, patience in guardian.STOPPING))
        for data in self._data_directories():
            _end_orphan(data)

    def _data_directories(self) -> list[Path]:
        return list(self.place.home.glob("data-*"))

    def _order(self, binaries: Binaries, data: Path, settings: Mapping[str, str]) -> dict[str, object]:
        fixed = {"listen_addresses": "", "unix_socket_directories": str(self.place.sockets), "port": "5432"}
        options = [f"--{name}={value}" for name, value in {**DEFAULTS, **settings, **fixed}.items()]
        account = self.place.account
        return {
            "home": str(self.place.home),
            "data": str(data),
            "sockets": str(self.place.sockets),
            "command": [str(binaries.directory / "postgres"), "-D", str(data), *options],
            "environment": clean_environment(os.environ),
            "uid": account.uid,
            "gid": account.gid,
            "foreign": account.foreign,
        }

    def _complaint(self, problem: str) -> str:
        try:
            said = self.place.log.read_text(errors="replace").strip()[-2000:]
        except OSError:
            said = ""
        where = self.place.home
        return f"The embedded PostgreSQL in {where} did not start: {problem}. Its log: {said or '(empty)'}"


def _end_orphan(data: Path) -> None:
    """Stop the server of `data` whose guardian was killed, ever more firmly."""
    for number, patience in guardian.STOPPING:
        deadline = time.monotonic() + patience
        if pid := server_pid(data):
            _signal(pid, number)
        while server_pid(data) is not None and time.monotonic() < deadline:
            time.sleep(0.005)
        if server_pid(data) is None:
            return


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
