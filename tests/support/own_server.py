"""A server that one test may stop, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from openqueue.dev import guardian
from openqueue.dev.account import clean_environment, server_account
from openqueue.dev.binaries import Binaries, find_binaries
from openqueue.dev.datadir import prepare
from openqueue.dev.places import Place, find_place

Mode = Literal["smart", "fast", "immediate"]
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class OwnServer:
    """A PostgreSQL as a child of this process, fsync on, on a Unix socket; `dsn()` survives restarts."""

    def __init__(self, place: Place, binaries: Binaries, settings: Mapping[str, str]) -> None:
        self._place = place
        self._binaries = binaries
        self._settings: dict[str, str] = {
            "listen_addresses": "",
            "unix_socket_directories": str(place.sockets),
            "max_connections": "200",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def temporary(
        cls, binaries: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> Iterator[OwnServer]:
        """Make one in a temporary directory, started; it is stopped and removed at the end."""
        directory = Path(tempfile.mkdtemp(prefix="openqueue-own-"))
        directory.chmod(0o755)
        account = server_account()
        place = find_place(directory / "server", account)
        place.make_home()
        server = cls(place, find_binaries(account, binaries), settings or {})
        try:
            server.start()
            yield server
        finally:
            server.stop("immediate")
            shutil.rmtree(place.home, ignore_errors=True)
            shutil.rmtree(place.sockets, ignore_errors=True)
            shutil.rmtree(directory, ignore_errors=True)

    def dsn(self, dbname: str = "postgres") -> str:
        """The address of one of its databases."""
        return self._place.dsn(dbname)

    @property
    def pid(self) -> int:
        """The postmaster, while it runs."""
        assert self._process is not None
        return self._process.pid

    def configure(self, **settings: str) -> None:
        """Settings for its next start."""
        self._settings |= settings

    def start(self) -> None:
        """Start it and wait until it takes connections, also just after it was killed."""
        account, data = self._place.account, self._place.data(self._binaries.major)
        deadline = time.monotonic() + 60
        while True:
            prepare(data, self._binaries, account)
            self._place.make_sockets()
            with self._place.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [str(self._binaries.directory / "postgres"), "-D", str(data), *self._options()],
                    cwd=data,
                    env=clean_environment(os.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    user=account.uid if account.foreign else None,
                    group=account.gid if account.foreign else None,
                    extra_groups=[] if account.foreign else None,
                )
            if self._is_up(data, deadline):
                return
            # The processes of a killed postmaster may still be on their way out.
            assert time.monotonic() < deadline, self._place.log.read_text()[-2000:]

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it as `pg_ctl stop -m mode` does; safe when it is down."""
        self._end(_SIGNALS[mode])

    def kill(self) -> None:
        """End the postmaster with SIGKILL, as a machine's out-of-memory killer does."""
        self._end(signal.SIGKILL)

    def restart(self, mode: Mode = "fast") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(number)
            process.wait(timeout=240)

    def _is_up(self, data: Path, deadline: float) -> bool:
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            if guardian.is_ready(data):
                return True
            time.sleep(0.005)
        self._process.wait(timeout=240)
        return False

    def _options(self) -> list[str]:
        return [f"--{name}={value}" for name, value in self._settings.items()]
