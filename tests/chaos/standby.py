"""A streaming replica of a server: made with pg_basebackup, promoted when the other one is gone."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from openqueue.dev.account import server_account
from openqueue.dev.binaries import find_binaries
from openqueue.dev.places import find_place
from tests.support.own_server import OwnServer

__all__ = ["both", "following", "has_basebackup", "in_step"]


def has_basebackup(binaries: Path | None) -> bool:
    """Whether the programs under test include pg_basebackup."""
    return (find_binaries(server_account(), binaries).directory / "pg_basebackup").is_file()


@contextmanager
def following(primary: OwnServer, binaries: Path | None) -> Iterator[OwnServer]:
    """A copy of `primary`, as it is, that is not started yet and then follows it."""
    account = server_account()
    programs = find_binaries(account, binaries)
    directory = Path(tempfile.mkdtemp(prefix="openqueue-own-"))
    directory.chmod(0o755)
    place = find_place(directory / "server", account)
    place.make_home()
    data = place.data(programs.major)
    data.mkdir(mode=0o700)
    if account.foreign:
        os.chown(data, account.uid, account.gid)
    copied = account.run(
        [
            str(programs.directory / "pg_basebackup"),
            *("--dbname", _libpq(primary.dsn())),
            *("--pgdata", str(data)),
            *("--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"),
        ]
    )
    assert copied.returncode == 0, copied.stdout
    server = _Standby(place, programs, {"hot_standby": "on", "max_connections": "100"})
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(place.home, ignore_errors=True)
        shutil.rmtree(place.sockets, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


class _Standby(OwnServer):
    """Up as soon as it can be read from."""

    def _is_up(self, data: Path, deadline: float) -> bool:
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                if (data / "postmaster.pid").read_text().split("\n")[7:8] in (["standby "], ["ready   "]):
                    return True
            time.sleep(0.005)
        self._process.wait(timeout=240)
        return False


async def in_step(primary: str) -> bool:
    """Whether every commit of the primary now waits for the replica."""
    connection = await asyncpg.connect(primary)
    try:
        return bool(await connection.fetchval("SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication"))
    finally:
        await connection.close()


def both(*servers: OwnServer) -> str:
    """One address for all of them: whichever can be written to."""
    found = [parse_qs(urlsplit(server.dsn()).query) for server in servers]
    hosts = ",".join(one["host"][0] for one in found)
    ports = ",".join(one["port"][0] for one in found)
    return f"postgresql://postgres@/postgres?host={hosts}&port={ports}&target_session_attrs=read-write"


def _libpq(dsn: str) -> str:
    query = parse_qs(urlsplit(dsn).query)
    return f"host={query['host'][0]} port={query['port'][0]} user=postgres dbname=postgres"
