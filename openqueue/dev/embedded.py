"""A PostgreSQL of one's own, for development, the demo and tests; not for production.

Several processes may use the server of one directory at the same time. The first starts it, the last one
to go stops it, and "to go" includes being killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from openqueue.dev.account import server_account
from openqueue.dev.binaries import find_binaries
from openqueue.dev.locks import FileLock
from openqueue.dev.places import Place, find_place, temporary_directories
from openqueue.dev.server import Server

__all__ = ["DEFAULT_DIRECTORY", "EmbeddedPostgres", "is_address_of_ours", "running_server", "stopped_server"]

DEFAULT_DIRECTORY = Path(".openqueue/postgres")


class EmbeddedPostgres:
    """One user of the PostgreSQL in `directory` (default `.openqueue/postgres` below the working directory).

    A context manager, plain or async. The server listens on a Unix socket that only its own account can
    reach, never on TCP. `settings` are PostgreSQL's; they count for whoever starts the server, not for who
    joins. `binaries` names the directory of PostgreSQL's programs instead of searching for them.

    Raises ConfigError when PostgreSQL's programs are missing or a directory cannot be used, and
    ConnectionFailed when the server does not start.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        self.directory = (directory or DEFAULT_DIRECTORY).absolute()
        self._settings = dict(settings or {})
        self._binaries = binaries
        self._place: Place | None = None
        self._held: list[FileLock] = []
        self._owner = 0

    @classmethod
    @contextmanager
    def temporary(
        cls, *, settings: Mapping[str, str] | None = None, binaries: Path | None = None
    ) -> Iterator[Self]:
        """Use a server of one's own in a temporary directory, of which nothing is left afterwards."""
        account = server_account()
        base = next(temporary_directories(account), None)
        directory = Path(tempfile.mkdtemp(prefix="openqueue-", dir=base))
        if account.foreign:
            directory.chmod(0o755)
        try:
            with cls(directory / "postgres", settings=settings, binaries=binaries) as server:
                yield server
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def start(self) -> None:
        """Become a user of the server, starting it if need be; returns once it takes connections."""
        if self._place is not None:
            raise RuntimeError("This EmbeddedPostgres is in use already: make another one.")
        place = find_place(self.directory, server_account())
        place.make_home()
        self._ignore_in_git()
        self._owner = os.getpid()
        try:
            with _lock(place, "turn"):
                alone = self._enter(place)
                self._ensure_running(Server(place), alone=alone)
        except BaseException:
            self._let_go()
            raise
        self._place = place

    def stop(self) -> None:
        """Stop being a user; if we were the last, returns when the server is down. Safe to repeat."""
        place, self._place = self._place, None
        if place is None:
            return
        if os.getpid() != self._owner:  # after a fork the locks are the parent's, too
            for lock in self._held:
                lock.forget()
            return
        with _lock(place, "turn"):
            self._let_go()
            users = _lock(place, "users")
            if users.try_take():
                Server(place).end()
                users.release()

    def dsn(self, dbname: str = "postgres") -> str:
        """Give the address of a database of this server, as libpq and asyncpg understand it."""
        return self._used().dsn(dbname)

    @property
    def log(self) -> Path:
        """The file with what the server wrote since it was last started."""
        return self._used().log

    def _used(self) -> Place:
        if self._place is None:
            raise RuntimeError("Not in use: enter it first (`with EmbeddedPostgres() as server:`).")
        return self._place

    def _enter(self, place: Place) -> bool:
        """Take the locks of a user; tells whether there is no other one."""
        users, alive = _lock(place, "users"), _lock(place, "alive")
        self._held = [users, alive]
        alone = users.try_take()
        users.take(shared=True)
        alive.take(shared=True)
        return alone

    def _ensure_running(self, server: Server, *, alone: bool) -> None:
        if server.is_guarded():
            if server.wait_until_ready():
                return
        elif server.is_ready() and not alone:  # its guardian was killed, but it serves others
            return
        server.end()
        server.launch(find_binaries(server.place.account, self._binaries), self._settings)

    def _let_go(self) -> None:
        for lock in self._held:
            lock.release()
        self._held = []

    def _ignore_in_git(self) -> None:
        """Keep database files out of the application's repository."""
        parent = self.directory.parent
        if parent.name == DEFAULT_DIRECTORY.parent.name and parent.is_dir():
            with suppress(OSError), (parent / ".gitignore").open("x") as file:
                file.write("*\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            with suppress(Exception):
                await starting
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def running_server(directory: Path | None = None) -> str | None:
    """Give the address of the server that runs in `directory` now, or None; nothing is started or made."""
    place = find_place((directory or DEFAULT_DIRECTORY).absolute(), server_account())
    return place.dsn("postgres") if Server(place).is_ready() else None


def stopped_server(directory: Path | None = None) -> bool:
    """Tell whether `directory` has a server that does not run now."""
    place = find_place((directory or DEFAULT_DIRECTORY).absolute(), server_account())
    return any(place.home.glob("data-*")) and not Server(place).is_ready()


def is_address_of_ours(url: str, directory: Path | None = None) -> bool:
    """Tell whether a URL is that of the server of `directory`, whether it runs or not."""
    if not url.startswith("postgresql://postgres@/postgres?"):  # most are not, and need no look at any place
        return False
    return url == find_place((directory or DEFAULT_DIRECTORY).absolute(), server_account()).dsn("postgres")


def _lock(place: Place, name: str) -> FileLock:
    return FileLock(place.home / f"{name}.lock")
