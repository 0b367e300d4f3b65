"""PgBouncer in transaction mode before the test's database: Debian's, or the one that a variable names."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from openqueue.dev.account import server_account

PORT = 6432
PROGRAM = os.environ.get("OPENQUEUE_TEST_PGBOUNCER") or shutil.which(
    "pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
)
MISSING = "MISSING: PgBouncer (apt-get install pgbouncer)"

PREPARES = (1, 21)
"""The first version that can keep the statements that clients prepare."""

TOO_OLD = "MISSING: PgBouncer 1.21 or newer (OPENQUEUE_TEST_PGBOUNCER=/path/to/pgbouncer)"


def bouncer_version() -> tuple[int, ...]:
    """Of the program that the tests use; () if there is none."""
    if PROGRAM is None:
        return ()
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said.split("\n")[0])[:2])


CONFIGURATION = """\
[databases]
* = host={host} port={port}
[pgbouncer]
pool_mode = transaction
listen_port = {own_port}
listen_addr =
unix_socket_dir = {directory}
auth_type = trust
auth_file = {directory}/users
default_pool_size = {sessions}
max_client_conn = 200
; each transaction goes to the session that has waited longest: what is left behind is met by somebody else
server_round_robin = 1
server_login_retry = 1
logfile = {directory}/log
"""


class Bouncer:
    """A PgBouncer as a child of this process, which never runs as root; `dsn` survives restarts."""

    def __init__(self, behind: str, directory: Path, sessions: int, prepared: int, more: str = "") -> None:
        parts = urlsplit(behind)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        user = parts.username or query.get("user", "postgres")
        reached = {
            "host": parts.hostname or query.get("host", "127.0.0.1"),
            "port": parts.port or query.get("port", "5432"),
        }
        own = urlencode({"host": str(directory), "port": PORT}, safe="/")
        self.dsn = parts._replace(netloc=f"{user}@", query=own).geturl()
        (directory / "users").write_text(f'"{user}" "{parts.password or ""}"\n')
        (directory / "ini").write_text(
            CONFIGURATION.format(**reached, own_port=PORT, directory=directory, sessions=sessions)
            + (f"max_prepared_statements = {prepared}\n" if bouncer_version() >= PREPARES else "")
            + more
        )

    @classmethod
    @contextmanager
    def before(
        cls, behind: str, *, sessions: int = 4, prepared: int = 0, more: str = ""
    ) -> Iterator[Bouncer]:
        """Started before the database `behind`, which it uses with so many sessions.

        Of what clients prepare it keeps so many statements a session, if its version can.
        `more`: lines of its configuration.
        """
        directory = Path(tempfile.mkdtemp(prefix="oq-pgb-", dir="/tmp"))
        bouncer = cls(behind, directory, sessions, prepared, more)
        account = server_account()
        for path in (directory, *directory.iterdir()):
            os.chown(path, account.uid, account.gid)
        try:
            bouncer.start()
            yield bouncer
        finally:
            bouncer.kill()
            shutil.rmtree(directory, ignore_errors=True)

    @property
    def log(self) -> str:
        """What it wrote."""
        file = self._directory / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        assert PROGRAM is not None, MISSING
        account = server_account()
        self._process = subprocess.Popen(
            [PROGRAM, "--quiet", str(self._directory / "ini")],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.uid if account.foreign else None,
            group=account.gid if account.foreign else None,
            extra_groups=[] if account.foreign else None,
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, with all connections of both sides."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait(timeout=240)
        for left in self._directory.glob(".s.PGSQL.*"):
            left.unlink()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as tried:
            try:
                tried.connect(str(self._directory / f".s.PGSQL.{PORT}"))
            except OSError:
                return False
            return True
