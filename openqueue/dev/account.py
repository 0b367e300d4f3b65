"""Who runs PostgreSQL: ourselves, or, as it refuses to run as root, an unprivileged account."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from openqueue.errors import ConfigError

__all__ = ["Account", "server_account"]


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the server; `foreign` when it is not the one we run as."""

    uid: int
    gid: int
    foreign: bool = False

    def run(
        self, command: Sequence[str | Path], *, cwd: Path | None = None, output: IO[bytes] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account to its end; without `output`, what it prints is in `stdout`.

        Raises OSError when the account may not run it.
        """
        return subprocess.run(
            [str(part) for part in command],
            cwd=cwd or "/",
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            user=self.uid if self.foreign else None,
            group=self.gid if self.foreign else None,
            extra_groups=[] if self.foreign else None,
        )

    def can_enter(self, directory: Path) -> bool:
        """Tell whether the account can work inside `directory`, by asking the kernel as that account."""
        if not self.foreign:
            return os.access(directory, os.R_OK | os.X_OK)
        return self.run(["/bin/sh", "-c", 'cd "$1" && test -x .', "sh", directory]).returncode == 0


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Keep an environment's variables except those that would change what PostgreSQL's programs do."""
    kept = {name: value for name, value in environment.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def server_account() -> Account:
    """Choose the server's account: ours, or `postgres`, or `nobody` when we are root.

    Raises ConfigError when we are root and there is neither.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid, foreign=True)
    raise ConfigError(
        "PostgreSQL does not run as root and there is no account 'postgres' or 'nobody' to run it as: "
        "run as another user, or set OPENQUEUE_DATABASE_URL to a server that is running."
    )
