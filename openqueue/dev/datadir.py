"""The database files: made once, whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from openqueue.dev.account import Account
from openqueue.dev.binaries import Binaries
from openqueue.errors import ConfigError

__all__ = ["prepare", "server_pid"]

_PROGRAMS = {"postgres", "postmaster"}


def prepare(data: Path, binaries: Binaries, account: Account) -> None:
    """Make the database files `data` unless they are there; what an interrupted attempt left is removed.

    Only one process at a time may call it for one directory. Raises ConfigError with what initdb said.
    """
    for leftover in data.parent.glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if data.exists():
        if server_pid(data) is None:  # PostgreSQL takes any process of that number for a server
            (data / "postmaster.pid").unlink(missing_ok=True)
        return
    unfinished = Path(tempfile.mkdtemp(prefix="new-", dir=data.parent))
    try:
        if account.foreign:
            os.chown(unfinished, account.uid, account.gid)
        _initdb(unfinished, binaries, account)
        unfinished.rename(data)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _initdb(directory: Path, binaries: Binaries, account: Account) -> None:
    command = [
        str(binaries.directory / "initdb"),
        f"--pgdata={directory}",
        "--username=postgres",
        # The socket lies in a directory that only the server's account can enter: that is the authentication.
        "--auth-local=trust",
        "--auth-host=reject",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
        "--no-instructions",
    ]
    result = account.run(command, cwd=directory)
    if result.returncode != 0:
        raise ConfigError(f"initdb could not make {directory}: {result.stdout.strip()[-2000:]}")


def server_pid(data: Path) -> int | None:
    """Tell the process of the server that runs on `data`, or None when none does.

    The number in `postmaster.pid` is not enough: after a crash it may be another program's by now.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if _is_postgres(pid) else None


def _is_postgres(pid: int) -> bool:
    """Ask the kernel what the process is; a zombie is none. Where there is no /proc, ask `ps`."""
    if Path("/proc/self/stat").exists():
        try:
            _, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")
        except OSError:
            return False
        program, _, state = rest.rpartition(") ")
        return program in _PROGRAMS and not state.startswith("Z")
    answer = subprocess.run(
        ["ps", "-p", str(pid), "-o", "comm="],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(answer.stdout.strip()).name in _PROGRAMS
