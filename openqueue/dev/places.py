"""Where an embedded server keeps its files, and that nobody else can meddle with them.

All of it lies in one directory, as long as the server's account may enter it and a Unix socket's path
fits; what does not goes to a directory of its own in the temporary one, found again by its name, with
owner and mode checked. The mode of a directory that was there before is never changed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from openqueue.dev.account import Account
from openqueue.errors import ConfigError

__all__ = ["Place", "checked", "find_place", "temporary_directories"]

PORT = 5432
LONGEST_SOCKET_PATH = 90  # bytes; the kernel's limit is 107, on some systems 103


@dataclass(frozen=True, slots=True)
class Place:
    """`home` holds locks, the log and the database files; `sockets` is the server's own, mode 0700."""

    home: Path
    sockets: Path
    account: Account
    sheltered: bool

    def data(self, major: int) -> Path:
        """Name the database files of one major version, which another one cannot read."""
        return self.home / f"data-{major}"

    @property
    def socket(self) -> Path:
        """The socket that the server listens on."""
        return _socket(self.sockets)

    @property
    def log(self) -> Path:
        """What the server wrote since it was last started."""
        return self.home / "server.log"

    def dsn(self, dbname: str) -> str:
        """Give the address of a database here, as libpq and asyncpg understand it."""
        where = urlencode({"host": str(self.sockets), "port": PORT}, quote_via=quote, safe="/")
        return f"postgresql://postgres@/{quote(dbname, safe='')}?{where}"

    def make_home(self) -> None:
        """Make the home and what is missing above it, or check the one that is there.

        Raises ConfigError when it is not ours to write to.
        """
        if self.sheltered:
            checked(self.home, os.geteuid(), 0o755)
            return
        for path in reversed([self.home, *self.home.parents]):
            if not path.exists():
                path.mkdir(exist_ok=True)
                if self.account.foreign:  # it must get through, whatever our umask says
                    path.chmod(0o755)
        if not os.access(self.home, os.W_OK):
            raise ConfigError(f"{self.home} is not writable: PostgreSQL's files cannot be kept there.")

    def make_sockets(self) -> None:
        """Make the directory of the socket, or check the one that is there (ConfigError)."""
        checked(self.sockets, self.account.uid, 0o700)

    def is_ours(self) -> bool:
        """Tell whether the directory of the socket is there and the server's own."""
        return _is_safe(self.sockets, self.account.uid, 0o700)


def find_place(directory: Path, account: Account) -> Place:
    """Decide where the server of `directory` lives; the same answer every time, and nothing is made.

    Raises ConfigError when nothing is left to choose.
    """
    wanted = directory.absolute()
    home = _home(wanted, account)
    return Place(home, _sockets(home, account), account, sheltered=home != wanted)


def _home(wanted: Path, account: Account) -> Path:
    nearest = next(path for path in (wanted, *wanted.parents) if path.exists())
    if account.can_enter(nearest):
        return wanted
    if not account.foreign:
        raise ConfigError(f"{wanted} cannot be used for PostgreSQL: {nearest} is not ours to enter.")
    for base in temporary_directories(account):
        return base / f"openqueue-{os.geteuid()}-{_digest(wanted)}"
    raise ConfigError(
        f"PostgreSQL cannot run as root, and the account it would run as may enter neither {wanted} nor a "
        "temporary directory: work in another directory, or set OPENQUEUE_DATABASE_URL."
    )


def _sockets(home: Path, account: Account) -> Path:
    nearby = home / "socket"
    if _fits(nearby):
        return nearby
    for base in temporary_directories(account):
        path = base / f"openqueue-{account.uid}-{_digest(nearby)}"
        if _fits(path):
            return path
    raise ConfigError(
        f"The path of {home} is too long for a Unix socket, and so are those of the temporary directories: "
        "set TMPDIR to a short one."
    )


def checked(directory: Path, owner: int, mode: int) -> Path:
    """Make `directory` for `owner`, or accept it if it is theirs and nobody else can write to it.

    Raises ConfigError when it is not: in a directory that all can write to, the name may be taken.
    """
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not _is_safe(directory, owner, mode):
            raise ConfigError(
                f"{directory} is not safe to use: it must be a directory of user {owner} with mode "
                f"{mode:04o}. Remove it, or set TMPDIR to another directory."
            ) from None
    else:
        if owner != os.geteuid():
            os.chown(directory, owner, -1)
        directory.chmod(mode)
    return directory


def _is_safe(directory: Path, owner: int, mode: int) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o777 & ~mode


def temporary_directories(account: Account) -> Iterator[Path]:
    """List the temporary directories that the account may enter, the configured one first."""
    for name in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108 - names there are checked
        path = Path(name)
        if path.is_dir() and account.can_enter(path):
            yield path


def _socket(sockets: Path) -> Path:
    return sockets / f".s.PGSQL.{PORT}"


def _fits(sockets: Path) -> bool:
    return len(os.fsencode(_socket(sockets))) <= LONGEST_SOCKET_PATH


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
